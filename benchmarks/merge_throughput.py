"""How many clips a second the merge of a preparation writes, and how many bytes the disk takes.

  python -m benchmarks.merge_throughput --before CHECKOUT

Writes benchmarks/results/merge_throughput.json. The features are random numbers of the sizes of CogVideoX at 49 frames
of 480x720, in files as a preparation leaves them; `merge` makes the dataset of them. With `--before` another checkout
of this repository does the same, in turn. Times are until all is handed to the system, and until it is on the disk
(`fsync`); processor time is beside them, for a machine that others use. Before each turn the disk is given as many
bytes in one file.

`--folders` names what to write to: a folder of a disk, and one of memory (/dev/shm) to see what the program takes
alone.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RESULT = Path(__file__).parent / "results" / "merge_throughput.json"
CLIPS, TURNS = 32, 5
# A group of the work, as configs/prepare.py:cogvideox divides it.
_GROUP = 4
_AXES = {"t": 13, "h": 60, "w": 90, "c": 16, "k": 5, "e": 512, "l": 226, "d": 4096}


def main() -> None:
    """Merges in turn, each time in a process of its own, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--folders", type=Path, nargs="+", default=[Path(tempfile.gettempdir()), Path("/dev/shm")])
    parser.add_argument("--merge", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.merge is not None:
        print(json.dumps(_merge(options.merge, options.clips)))
        return
    sources = {"before": options.before} if options.before else {}
    sources |= {"after": Path(__file__).parents[1]}
    result: dict[str, Any] = {"cpu_count": os.cpu_count(), "clips": options.clips, "folders": {}}
    for place in options.folders:
        with tempfile.TemporaryDirectory(dir=place) as scratch:
            measured = measure(Path(scratch), sources, options.clips, options.turns)
        result["folders"]["memory" if place == Path("/dev/shm") else "disk"] = measured
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(measured["medians"]), flush=True)
    print(f"written to {options.output}")


def measure(folder: Path, sources: dict[str, Path], clips: int, turns: int) -> dict[str, Any]:
    """Every turn of every source in one folder, and the medians."""
    record_mb = make_features(folder / "features", clips)
    rows = []
    for turn in range(turns):
        for name, source in sources.items():
            output = folder / "data"
            # Links: the merge removes the work.
            shutil.copytree(folder / "features", output / "work", copy_function=os.link)
            row = {"turn": turn, "code": name, "disk_mb_per_second": round(disk_speed(folder, clips * record_mb), 1)}
            # This file, with the package of either checkout.
            command = [sys.executable, __file__, "--merge", str(output), "--clips", str(clips)]
            environment = os.environ | {"PYTHONPATH": str(source)}
            made = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            rows.append(row | json.loads(made.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
            shutil.rmtree(output)
    columns = [name for name in rows[0] if name not in ("turn", "code")]
    medians = {
        name: {column: statistics.median(row[column] for row in rows if row["code"] == name) for column in columns}
        for name in sources
    }
    return {"record_mb": round(record_mb, 2), "medians": medians, "turns": rows}


def disk_speed(folder: Path, megabytes: float) -> float:
    """Megabytes a second of one file that is written from its first byte to its last, and forced to the disk."""
    path, block = folder / "block", os.urandom(8 * 10**6)
    start = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(round(megabytes / 8)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return 8 * round(megabytes / 8) / seconds


def make_features(work: Path, clips: int) -> float:
    """Makes the features of some clips, and the plans of their videos; gives the megabytes of a record's arrays."""
    import numpy as np

    from sr_jax.data.fields import CORE_FIELDS, shapes
    from sr_jax.preparation.work import write_features

    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float16) for name, shape in shapes(CORE_FIELDS, _AXES).items()}
    preparation = _preparation(work.parent / "unused", clips)
    (work / "shards").mkdir(parents=True)
    (work / "shards" / "0-of-1.json").write_text(preparation.manifest.to_json())
    for number, files in enumerate(preparation.work.groups):
        plans = [_plan(file) for file in files]
        group = work / f"{number:06d}"
        (group / "train").mkdir(parents=True)
        (group / "plan.json").write_text(json.dumps([plan.to_json() for plan in plans]))
        for plan in plans:
            # Others of every clip: what is compressed is not the same again.
            rolled = {name: np.roll(array, rng.integers(array.size)) for name, array in arrays.items()}
            write_features(group / "train" / preparation.work.features_path(number, plan.clips[0]).name, rolled)
    return sum(array.nbytes for array in arrays.values()) / 1e6


def _merge(output: Path, clips: int) -> dict[str, float]:
    """Merges what is in a folder, and says how long that took.

    Raises:
        ValueError: When the dataset does not hold all clips: what was not done takes no time.
    """
    from sr_jax.data import builder
    from sr_jax.preparation.merging import merge

    preparation = _preparation(output, clips)
    start, processor = time.perf_counter(), time.process_time()
    merge(preparation)
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor
    for path in output.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    stored = time.perf_counter() - start
    if sum(builder.count_clips(output, "train")) != clips:
        raise ValueError(f"{output} does not hold {clips} clips")
    return {
        "clips_per_second": round(clips / stored, 2),
        "clips_per_second_until_handed_over": round(clips / seconds, 2),
        "processor_ms_per_clip": round(1000 * processor_seconds / clips, 1),
    }


def _preparation(output: Path, clips: int) -> Any:
    """A preparation of that many videos of one clip each, with stand-ins for what makes features."""
    import numpy as np

    from sr_jax.data.fields import CORE_FIELDS
    from sr_jax.data.records import Provenance
    from sr_jax.preparation.dataset import Preparation
    from sr_jax.preparation.framing import Kind, Size
    from sr_jax.preparation.inputs import FoundFile

    clip = {"num_frames": 49, "fps": 8.0, "height": 480, "width": 720, "noisy_images": 4, "seed": 0}
    provenance = Provenance({"name": "random", "weight_hash": "none"}, {}, clip, "")
    return Preparation(
        output=output,
        files=[FoundFile(Path(f"{number:06d}.mp4"), "train", f"{number:06d}") for number in range(clips)],
        planner=SimpleNamespace(settings={}),
        reader=None,
        extractors={Kind(Size(480, 720)): SimpleNamespace(fields=CORE_FIELDS, provenance=provenance)},
        empty_prompt=np.zeros((_AXES["l"], _AXES["d"]), np.float32),
        look=None,
        fps=8.0,
        batch_size=_GROUP,
        keep_clips=False,
    )


def _plan(file: Any) -> Any:
    """The plan of a video of one clip."""
    import numpy as np

    from sr_jax.preparation.framing import Size, Window
    from sr_jax.preparation.planning import ClipPlan, Outcome, Source, VideoPlan

    source = Source(file.path, file.split, file.name, "a person walks along a street and waves", {}, "default")
    clip = ClipPlan(f"{file.name}-00000", source, np.arange(49), Size(480, 720), Window(0, 0, 480, 720))
    return VideoPlan(Outcome(str(file.path), file.split, file.name, clips=1, prompt_from="default"), (clip,))


if __name__ == "__main__":
    main()
