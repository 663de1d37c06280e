"""Which weights a checkpoint holds, by a hash, and where weights of a known hash are by now."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from sr_jax.checkpoints.reading import FOLDER, all_steps, item_path
from sr_jax.conversion.imported import is_imported, read_record
from sr_jax.errors import UserError

_PART = "transformer"


def weights_hash(workdir: str | Path, *, step: int | None = None) -> str:
    """A hash of the averaged weights in a checkpoint, the same wherever its folder is moved or copied.

    No weights are read. Of an import it is that of the released files, so that the same import again has it too. Of a
    run it is that of the names and sizes of the files that hold the weights: each save draws new names.

    Args:
        workdir: A training workdir, or an import.
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When the workdir has no (such) checkpoint.
    """
    item = item_path(workdir, step=step)
    if is_imported(Path(workdir)):
        record = read_record(Path(workdir))
        folder = record.folders.get(_PART, "")
        files: dict[str, Any] = {
            path: value for path, value in record.sha256.items() if PurePosixPath(path).is_relative_to(folder)
        }
        files["dtype"] = record.dtype
        if record.merged:
            files["merged"] = record.merged
    else:
        found = (path for path in item.rglob("*") if path.is_file())
        files = {path.relative_to(item).as_posix(): path.stat().st_size for path in found}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def step_with(workdir: str | Path, wanted: str) -> int | None:
    """The newest checkpoint with these weights (`weights_hash`) in a workdir; None when it has none."""
    if not (Path(workdir) / FOLDER).is_dir():
        return None
    steps = sorted(all_steps(workdir), reverse=True)
    return next((step for step in steps if weights_hash(workdir, step=step) == wanted), None)


def locate_base(workdir: str | Path, meta: dict[str, Any], given: str | Path = "") -> tuple[str, int]:
    """The checkpoint that the low-rank factors of a run adapt: where it was then, or by its hash where it is by now.

    Args:
        workdir: Of the run.
        meta: Of the run's checkpoint. Of an earlier version it has no hash; then what lies at the old place, or at the
            given one, is taken.
        given: Where the user says that it is; empty: where it was, or where it now is as seen from `workdir`, or in a
            folder beside `workdir`.

    Returns:
        A workdir or import, and the step in it.

    Raises:
        UserError: When it is in none of them.
    """
    workdir, recorded, step = Path(workdir), meta["config"]["init"]["transformer"], meta["frozen_steps"][_PART]
    wanted = meta.get("origins", {}).get("frozen", {}).get(_PART)
    if wanted is None:
        return str(given or recorded), step
    if given:
        candidates = [Path(given)]
    else:
        seen_from_workdir = workdir / meta["origins"]["places"][_PART]
        candidates = [Path(recorded), seen_from_workdir, *sorted(workdir.absolute().parent.iterdir())]
    for candidate in candidates:
        found = step_with(candidate, wanted)
        if found is not None:
            return str(candidate), found
    where = f"in {given}" if given else f"in {recorded} nor beside {workdir}"
    raise UserError(
        f"{workdir} adapts the transformer that was in {recorded} at step {step}, which is not {where}: say where it "
        "is with --base (of sample, and of convert merge)"
    )
