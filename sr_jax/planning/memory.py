"""What a compiled step holds in the memory of one device, by kind."""

import dataclasses
import re
from typing import Any

import jax

from sr_jax.parallel.sharding import bytes_per_device
from sr_jax.training.program import Program
from sr_jax.training.state import TrainState

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device at the step's peak.

    Attributes:
        params: What is trained.
        optimizer: The optimizer's state, and the few numbers that the stage carries.
        average: The moving average of the parameters.
        frozen: What the loss reads and never changes.
        batch: The records of one step.
        padding: What the device's layouts add to these.
        temporaries: Activations, gradients and the compiler's buffers.
        output: Results that do not take the place of the state that came in.
        code: The program itself.
    """

    params: int
    optimizer: int
    average: int
    frozen: int
    batch: int
    padding: int
    temporaries: int
    output: int
    code: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.asdict(self).values())


def compiled_memory(program: Program, batch: dict[str, Any], stats: Any) -> Memory:
    """The memory of a step that the compiler has laid out.

    Args:
        program: What was compiled.
        batch: The batch that it was compiled for.
        stats: Its `memory_analysis()`.
    """
    arguments = argument_bytes(program.state, program.frozen, batch)
    return Memory(
        **arguments,
        padding=max(stats.argument_size_in_bytes - sum(arguments.values()), 0),
        temporaries=stats.temp_size_in_bytes,
        output=max(stats.output_size_in_bytes - stats.alias_size_in_bytes, 0),
        code=stats.generated_code_size_in_bytes,
    )


def refused_memory(program: Program, batch: dict[str, Any], message: str) -> Memory | None:
    """The memory of a step that the compiler refused for want of it.

    Args:
        program: What was compiled.
        batch: The batch that it was compiled for.
        message: The compiler's error.

    Returns:
        Everything beyond the arguments as temporaries; None when the error is another one.
    """
    arguments = argument_bytes(program.state, program.frozen, batch)
    temporaries = refused_temporaries(message, sum(arguments.values()))
    if temporaries is None:
        return None
    return Memory(**arguments, padding=0, temporaries=temporaries, output=0, code=0)


def refused_temporaries(message: str, arguments: int) -> int | None:
    """Bytes beyond the arguments of a program that the compiler refused for want of memory.

    Args:
        message: The compiler's error.
        arguments: Bytes of the arguments.

    Returns:
        None when the error is another one.
    """
    if total := re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message):
        return max(_bytes(*total.groups()) - arguments, 0)
    if alone := re.search(r"required for HLO temporaries \(([\d.]+)([KMGT]?)\)", message):
        return _bytes(*alone.groups())
    return None


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])


def argument_bytes(state: TrainState, frozen: Any, batch: dict[str, Any]) -> dict[str, int]:
    """Bytes of one device of what goes into a step, by kind, without the padding of layouts."""
    parts = {
        "params": state.params,
        "optimizer": (state.opt_state, state.running),
        "average": state.ema_params,
        "frozen": frozen,
        "batch": batch,
    }
    return {
        name: sum(bytes_per_device(leaf, leaf.sharding) for leaf in jax.tree.leaves(tree))
        for name, tree in parts.items()
    }
