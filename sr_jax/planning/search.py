"""The nearest change of a config that fits: the memory levers in turn, each on top of those that helped."""

from collections.abc import Callable, Iterator
from typing import Any

import ml_collections

from sr_jax.errors import UserError
from sr_jax.models.remat import POLICIES
from sr_jax.planning.planner import Plan

Change = dict[str, Any]
"""Config fields by flat name, and their new values."""

Planner = Callable[[ml_collections.ConfigDict], Plan]


def search(
    config: ml_collections.ConfigDict, found: Plan, planner: Planner, tell: Callable[[str], None]
) -> tuple[Change, Plan]:
    """Tries changes, those that cost a run least first, until one fits.

    What is learnt from a batch stays the same: the batch size is no lever. A lever that saves memory without being
    enough is kept, and the next one tried on top of it.

    Args:
        config: What does not fit.
        found: Its plan.
        planner: Plans a config.
        tell: Called with a line before and after each try.

    Returns:
        The change and its plan: the first one that fits, or else the one that needs least.
    """
    change: Change = {}
    for lever in (_remat, _full_sharding, _accumulation, _context, _optimizer_state):
        best = found
        for step in lever(_changed(config, change), found):
            tell(f"trying {flags(change | step)}")
            try:
                tried = planner(_changed(config, change | step))
            except UserError as error:
                tell(f"  no: {error}")
                continue
            tell(f"  {tried.memory.total / 2**30:.2f} GiB a device")
            if tried.fits:
                return change | step, tried
            if tried.memory.total < best.memory.total:
                best, kept = tried, step
        if best is not found:
            found, change = best, change | kept
    return change, found


def flags(change: Change) -> str:
    """The change as it is given to a command."""
    return " ".join(f"--config.{name}={value}" for name, value in change.items())


def _changed(config: ml_collections.ConfigDict, change: Change) -> ml_collections.ConfigDict:
    copy = ml_collections.ConfigDict(config.to_dict())
    copy.update_from_flattened_dict(change)
    return copy


def _remat(config: ml_collections.ConfigDict, found: Plan) -> Iterator[Change]:
    """Keep less of the forward pass, and compute it again."""
    policies = POLICIES
    for policy in policies[policies.index(config.remat) + 1 :]:
        yield {"remat": policy}


def _full_sharding(config: ml_collections.ConfigDict, found: Plan) -> Iterator[Change]:
    """Split the parameters over every device that can have clips of its own."""
    ways = found.mesh["data"] * found.mesh["fsdp"]
    if found.mesh["data"] > 1:
        yield {"mesh.data": 1, "mesh.fsdp": ways}


def _accumulation(config: ml_collections.ConfigDict, found: Plan) -> Iterator[Change]:
    """Fewer clips at a time."""
    most = config.batch_size // (found.mesh["data"] * found.mesh["fsdp"])
    for steps in _divisors(most):
        if steps > config.accumulate_steps:
            yield {"accumulate_steps": steps}


def _context(config: ml_collections.ConfigDict, found: Plan) -> Iterator[Change]:
    """Several devices to a clip, and fewer clips at a time."""
    fsdp = found.mesh["fsdp"]
    for ways in _divisors(fsdp)[1:]:
        clips = found.mesh["data"] * fsdp // ways
        if ways <= 16 and config.batch_size % clips == 0:
            yield {
                "mesh.fsdp": fsdp // ways,
                "mesh.context": found.mesh["context"] * ways,
                "accumulate_steps": config.batch_size // clips,
            }


def _optimizer_state(config: ml_collections.ConfigDict, found: Plan) -> Iterator[Change]:
    """A smaller optimizer state."""
    if config.optimizer.name == "adamw" and config.optimizer.state_dtype == "float32":
        yield {"optimizer.state_dtype": "bfloat16"}


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
