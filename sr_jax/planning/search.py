"""The nearest change of a config that fits: the memory levers in turn, each on top of those that helped."""

from collections.abc import Callable, Iterator
from typing import Any

import ml_collections

from sr_jax.errors import UserError
from sr_jax.models.remat import POLICIES
from sr_jax.planning.estimate import Estimate
from sr_jax.planning.planner import Plan

Change = dict[str, Any]
"""Config fields by flat name, and their new values."""

Found = Plan | Estimate
Planner = Callable[[ml_collections.ConfigDict], Found]

# A clip's tokens, and its heads, are not split among more devices: each sends them in every block.
_MOST_CONTEXT, _MOST_TENSOR = 16, 8


def search(
    config: ml_collections.ConfigDict, found: Found, planner: Planner, tell: Callable[[str], None]
) -> tuple[Change, Found]:
    """Tries changes, those that cost a run least first, until one fits.

    First what is only read is rounded, then comes what takes time and changes no result, and last what changes how a
    batch is learnt from: integers under a LoRA, a rounded optimizer state, another optimizer, rounded parameters. The
    batch size is no lever.
    A lever that saves memory without being enough is kept, and the next one tried on top of it.

    Args:
        config: What does not fit.
        found: Its plan.
        planner: Plans a config.
        tell: Called with a line before and after each try.

    Returns:
        The change and its plan: the first one that fits, or else the one that needs least.
    """
    change: Change = {}
    levers = (_frozen_storage, _remat, _full_sharding, _accumulation, _context, _tensor)
    levers += (_int8_base, _optimizer_state, _factored_moments, _parameter_storage)
    for lever in levers:
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


def _frozen_storage(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Frozen weights in half of the bytes; a run that computes in bfloat16 rounds most of them in any case."""
    if config.frozen_dtype == "float32" and found.frozen:
        yield {"frozen_dtype": "bfloat16"}


def _remat(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Keep less of the forward pass, and compute it again."""
    policies = POLICIES
    for policy in policies[policies.index(config.remat) + 1 :]:
        yield {"remat": policy}


def _full_sharding(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Split the parameters over every device that can have clips of its own."""
    ways = found.mesh["data"] * found.mesh["fsdp"]
    if found.mesh["data"] > 1:
        yield {"mesh.data": 1, "mesh.fsdp": ways}


def _accumulation(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Fewer clips at a time."""
    most = config.batch_size // (found.mesh["data"] * found.mesh["fsdp"])
    for steps in _divisors(most):
        if steps > config.accumulate_steps:
            yield {"accumulate_steps": steps}


def _context(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Several devices to a clip, each with some of its tokens, and fewer clips at a time."""
    for ways in _divisors(found.mesh["fsdp"])[1:]:
        if ways <= _MOST_CONTEXT and (shared := _shared_clips(config, found, ways)):
            yield shared | {"mesh.context": found.mesh["context"] * ways}


def _tensor(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Some of the heads and hidden units to a device: of those that share a clip's tokens, or else fewer clips."""
    context, tensor = found.mesh["context"], found.mesh["tensor"]
    for split in _divisors(found.num_heads):
        if not tensor < split <= _MOST_TENSOR or split % tensor:
            continue
        ways = split // tensor
        if context % ways == 0:
            yield {"mesh.context": context // ways, "mesh.tensor": split}
        elif found.mesh["fsdp"] % ways == 0 and (shared := _shared_clips(config, found, ways)):
            yield shared | {"mesh.tensor": split}


def _shared_clips(config: ml_collections.ConfigDict, found: Found, ways: int) -> Change:
    """So many devices of the `fsdp` axis to a clip, one clip at a time; nothing where the batch has no such parts."""
    fsdp = found.mesh["fsdp"] // ways
    clips = found.mesh["data"] * fsdp
    return {} if config.batch_size % clips else {"mesh.fsdp": fsdp, "accumulate_steps": config.batch_size // clips}


def _int8_base(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """The kernels that a LoRA adapts in a byte each."""
    if config.lora.rank and config.lora.base_type != "int8":
        yield {"lora.base_type": "int8"}


def _optimizer_state(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """A smaller optimizer state."""
    if config.optimizer.name == "adamw" and config.optimizer.state_dtype == "float32":
        yield {"optimizer.state_dtype": "bfloat16"}


def _factored_moments(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Another optimizer, with hardly any state."""
    if config.optimizer.name == "adamw":
        yield {"optimizer.name": "adafactor"}


def _parameter_storage(config: ml_collections.ConfigDict, found: Found) -> Iterator[Change]:
    """Parameters and their average in half of the bytes, every update rounded."""
    if config.param_dtype == "float32":
        yield {"param_dtype": "bfloat16"}


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
