"""Disks that are full, files that are damaged, folders that may not be written, and a clip that is not finite.

  python -m benchmarks.reliability.disk

Writes results/reliability/disk.json. The full disk is a small tmpfs, which only root can mount; without, that part is
skipped, and the result says so.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability import runs
from sr_jax.checkpoints.logs import SKIPPED_FILE, read_lines, read_metrics


def main() -> None:
    """Does each, and writes how it ended."""
    args = runs.arguments(__doc__)
    data, cache = runs.make_data(args.scratch / "data"), args.scratch / "cache"
    folder = args.scratch / f"disk_{time.time():.0f}"
    calm = folder / "calm"
    runs.train(calm, data, cache)
    whole = runs.fingerprint(calm)
    parts = {
        "full_disk": _full_disk(folder, data, cache, whole, console_on_it=False),
        "full_disk_and_console": _full_disk(folder, data, cache, whole, console_on_it=True),
        "truncated_newest": _damaged(folder / "truncated", calm, data, cache, whole, _truncate),
        "deleted_opt_state": _damaged(folder / "deleted", calm, data, cache, whole, _delete_opt_state),
        "read_only_folder": _read_only(folder, data, cache),
        "bad_clip": _bad_clip(folder, args.scratch / "bad_data", cache),
    }
    runs.write(args.output, "disk", parts | {"holds": all(part["holds"] for part in parts.values())})


@contextlib.contextmanager
def _small_disk(folder: Path, megabytes: int, *options: str) -> Iterator[bool]:
    """A tmpfs of its own at `folder`, and whether it could be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={megabytes}m", *options]), "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _full_disk(folder: Path, data: Path, cache: Path, whole: str, *, console_on_it: bool) -> dict[str, Any]:
    """The disk fills up during the run, and is empty again before its end."""
    small = folder / ("small_with_console" if console_on_it else "small")
    with _small_disk(small, 16) as mounted:
        if not mounted:
            return {"skipped": "a tmpfs cannot be mounted here", "holds": True}
        workdir, ballast = small / "run", small / "ballast"
        with runs.Run(workdir, data, cache, said=small if console_on_it else folder) as run:
            run.wait_for_step(9)
            before = runs.checkpoint_steps(workdir)
            with ballast.open("wb") as file, contextlib.suppress(OSError):
                while file.write(bytes(1 << 16)):
                    file.flush()
            # Nothing that it says can be read from a disk that is full.
            full_until = time.monotonic() + 2.0
            run.wait_until(
                lambda: time.monotonic() > full_until if console_on_it else "could not be saved" in run.stderr()[0]
            )
            during = runs.checkpoint_steps(workdir)
            ballast.unlink()
            codes, said = run.finish(), run.stderr()[0]
        steps = [line["step"] for line in read_metrics(workdir)]
        result = {
            "exit_codes": codes,
            "checkpoints_before_and_during": [before, during],
            "told": said.count("could not be saved"),
            "tracebacks": said.count("Traceback"),
            "metrics_are_whole": steps == list(range(1, runs.TINY["num_train_steps"] + 1)),
            "equal": runs.fingerprint(workdir) == whole,
        }
    good = codes == [0] and result["metrics_are_whole"] and result["equal"] and not result["tracebacks"]
    return result | {"holds": good and bool(set(before) & set(during))}


def _truncate(checkpoint: Path) -> None:
    for path in checkpoint.glob("params/**/d/*"):
        os.truncate(path, path.stat().st_size // 2)


def _delete_opt_state(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "opt_state")


def _damaged(workdir: Path, calm: Path, data: Path, cache: Path, whole: str, damage: Any) -> dict[str, Any]:
    """The newest checkpoint is damaged behind the run's back: it goes on from the one before."""
    shutil.copytree(calm, workdir)
    earlier, newest = runs.checkpoint_steps(workdir)[-2:]
    damage(workdir / "checkpoints" / str(newest))
    run = runs.train(workdir, data, cache)
    said = f"step {newest} is damaged" in run.stderr()[0] and f"goes on from step {earlier}" in run.stderr()[0]
    equal = runs.fingerprint(workdir) == whole
    return {"newest": newest, "earlier": earlier, "told": said, "equal": equal, "holds": said and equal}


def _read_only(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """A folder that may not be written: one line and exit code 2."""
    closed = folder / "closed"
    with _small_disk(closed, 1, "ro") as mounted:
        # Without root, the mode of the folder does it.
        if not mounted:
            closed.chmod(0o555)
        with runs.Run(closed / "run", data, cache, said=folder) as run:
            codes, said = run.finish(), run.stderr()[0].strip().splitlines()
    errors = [line.replace(str(folder), "FOLDER") for line in said if line.startswith("error: ")]
    return {"exit_codes": codes, "said": errors, "holds": codes == [2] and len(errors) == 1}


def _bad_clip(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """One clip of 24 holds a number that is not finite: its steps are skipped and named, and the run ends well."""
    runs.make_data(data, infinite=[5])
    workdir = folder / "bad_clip"
    runs.train(workdir, data, cache)
    skipped = read_lines(workdir / SKIPPED_FILE)
    named = all("clip005" in line["clips"] for line in skipped)
    # 40 steps of 4 clips see each of the 24 clips 6 or 7 times.
    return {"skipped_steps": [line["step"] for line in skipped], "holds": named and 6 <= len(skipped) <= 7}


if __name__ == "__main__":
    main()
