"""What a checkpoint says about itself, and its parameters; none is read before it is placed or saved.

Layout: `<workdir>/checkpoints/<step>/{params,ema_params,opt_state,meta}`, and `running` where the stage carries more
than these from step to step. `meta` is JSON: step, stage, config and the provenance of the dataset, so that a
checkpoint says by itself what it is. Nothing depends on the mesh or the number of
processes.
"""

import contextlib
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx

from sr_jax.checkpoints.upgrade import upgraded
from sr_jax.conversion.components import is_diffusers
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel.stored import open_item

FOLDER = "checkpoints"
"""Of all checkpoints, in a workdir."""
DAMAGED = (OSError, ValueError, KeyError, TypeError)
"""What reading a checkpoint raises of which a part is missing, cut short or changed."""


def exists(workdir: Path) -> bool:
    """Whether a workdir has a complete checkpoint."""
    if not (workdir / FOLDER).is_dir():
        return False
    with _open(workdir) as manager:
        return bool(manager.all_steps())


def all_steps(workdir: str | Path) -> list[int]:
    """The steps of a workdir's complete checkpoints.

    Raises:
        UserError: When it holds no folder of checkpoints.
    """
    with _open(workdir) as manager:
        return list(manager.all_steps())


def read_meta(workdir: str | Path, *, step: int | None = None) -> dict[str, Any]:
    """What a checkpoint says about itself: `step`, `stage`, `config` (in today's terms), `provenance`.

    Args:
        workdir: A training workdir.
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When the workdir has no (such) checkpoint, or it is damaged.
    """
    with _open(workdir) as manager:
        step = _existing_step(manager, workdir, step)
        return _read_meta(manager, workdir, step)


def read_run_meta(workdir: str | Path) -> dict[str, Any]:
    """As `read_meta`, of the newest checkpoint of a run that is not damaged so far that it cannot say.

    Raises:
        UserError: When the workdir has none.
    """
    with _open(workdir) as manager:
        newest = _existing_step(manager, workdir, None)
        for step in sorted(manager.all_steps(), reverse=True):
            with contextlib.suppress(UserError):
                return _read_meta(manager, workdir, step)
        return _read_meta(manager, workdir, newest)


def open_params(
    workdir: str | Path, *, item: str = "ema_params", step: int | None = None
) -> tuple[Params, dict[str, Any]]:
    """Trained parameters as `LazyArray`, of which none is read yet, with the checkpoint's `meta`.

    Args:
        workdir: A training workdir.
        item: "ema_params" (the averaged weights) or "params".
        step: Which checkpoint; the newest when None.

    Returns:
        A dict from module name (`transformer`, or `structure` and `identity`) to its parameters; and `meta`.

    Raises:
        UserError: When the workdir has no (such) checkpoint, or it is damaged; also when a part is read that is.
    """
    meta = read_meta(workdir, step=step)
    params = open_item(item_path(workdir, item=item, step=meta["step"]))
    return {name: nnx.restore_int_paths(module) for name, module in params.items()}, meta


def item_path(workdir: str | Path, *, item: str = "ema_params", step: int | None = None) -> Path:
    """The folder of one item of a checkpoint, to be read piece by piece.

    Args:
        workdir: A training workdir.
        item: "ema_params" (the averaged weights) or "params".
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When the workdir has no (such) checkpoint.
    """
    with _open(workdir) as manager:
        return Path(workdir) / FOLDER / str(_existing_step(manager, workdir, step)) / item


def _read_meta(manager: ocp.CheckpointManager, workdir: str | Path, step: int) -> dict[str, Any]:
    try:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
        return meta | {"config": upgraded(meta["config"])}
    except DAMAGED as error:
        others = ", ".join(str(other) for other in sorted(manager.all_steps()) if other != step) or "none"
        raise UserError(
            f"the checkpoint at step {step} of {workdir} is damaged ({type(error).__name__}): name another one with "
            f"--step; there are: {others}"
        ) from error


def _open(workdir: str | Path) -> ocp.CheckpointManager:
    path = Path(workdir).absolute() / FOLDER
    if not path.is_dir():
        if is_diffusers(path.parent):
            raise UserError(
                f"{workdir} is a folder of diffusers, no checkpoint: import it with python -m sr_jax.convert import "
                f"--source {workdir} --output MODEL, and name MODEL instead"
            )
        raise UserError(
            f"{workdir} holds no checkpoints: name the workdir of a training run, or a model that was imported with "
            "python -m sr_jax.convert import"
        )
    options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone())
    return ocp.CheckpointManager(path, options=options, item_handlers={"meta": ocp.JsonCheckpointHandler()})


def alone() -> ocp.options.MultiprocessingOptions:
    """Each process reads by itself: it must not wait for others that may never come to read."""
    return ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"reader{jax.process_index()}",
    )


def _existing_step(manager: ocp.CheckpointManager, workdir: str | Path, step: int | None) -> int:
    steps = manager.all_steps()
    if not steps:
        raise UserError(f"{workdir} has no complete checkpoint yet: let its training run reach one")
    if step is not None and step not in steps:
        raise UserError(f"{workdir} has no checkpoint at step {step}: there are {', '.join(map(str, sorted(steps)))}")
    return max(steps) if step is None else step
