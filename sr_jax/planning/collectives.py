"""What a compiled program sends between devices, by kind."""

import dataclasses
import math
import re
from collections.abc import Iterable

from sr_jax.planning.hlo import Instruction, Program

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")

# XLA for TPUs writes a reduce-scatter as a fusion of this name around an all-reduce and a slice.
_FUSED_REDUCE_SCATTER = "all-reduce-scatter"


@dataclasses.dataclass(frozen=True)
class Traffic:
    """All collectives of one kind in one run of a program.

    Attributes:
        count: How many times a collective of this kind runs.
        bytes: What one device sends for them with the algorithms of a ring: of an operand of `n` bytes in a group of
            `g` devices, an all-gather sends `n (g - 1)`, a reduce-scatter or an all-to-all `n (g - 1) / g`, an
            all-reduce twice that and a permutation `n`.
    """

    count: int
    bytes: int


def collectives(program: Program, num_devices: int) -> dict[str, Traffic]:
    """The traffic of each of `KINDS` that the program has, in one run.

    Args:
        program: A compiled program.
        num_devices: Of the mesh: the group of a collective that names none.
    """
    totals: dict[str, Traffic] = {}
    for computation, runs in program.executions().items():
        instructions = program.computations[computation]
        for instruction in instructions.values() if runs else ():
            kind = _kind(instruction, computation)
            if kind is None:
                continue
            operands = [instructions[name] for name in instruction.operands if name in instructions]
            sent = sent_bytes(kind, _bytes(operands), _group_size(instruction, num_devices))
            so_far = totals.get(kind, Traffic(0, 0))
            totals[kind] = Traffic(so_far.count + runs, so_far.bytes + runs * sent)
    return {kind: totals[kind] for kind in KINDS if kind in totals}


def _kind(instruction: Instruction, computation: str) -> str | None:
    """The kind of a collective; None for everything else, and for the second half of an asynchronous one."""
    opcode = instruction.opcode.removesuffix("-start")
    if opcode == "all-reduce" and computation.startswith(_FUSED_REDUCE_SCATTER):
        return "reduce-scatter"
    if opcode == "ragged-all-to-all":
        return "all-to-all"
    return opcode if opcode in KINDS else None


def _bytes(operands: Iterable[Instruction]) -> int:
    return sum(array.bytes for operand in operands for array in operand.result)


def sent_bytes(kind: str, operand_bytes: int, group: int) -> int:
    """What one device sends for one collective of `KINDS` in a group of so many devices (see `Traffic`)."""
    factor = {
        "all-gather": group - 1,
        "reduce-scatter": (group - 1) / group,
        "all-reduce": 2 * (group - 1) / group,
        "all-to-all": (group - 1) / group,
        "collective-permute": 1,
    }[kind]
    return round(operand_bytes * factor)


def _group_size(instruction: Instruction, num_devices: int) -> int:
    """Devices in one group, of the three ways in which HLO writes groups: a mesh's axes, a reshaped count, a list."""
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", instruction.text)
    if mesh:
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        # A part of an axis is written 'axis':(in front of it)its size.
        axes = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    counted = re.search(r"replica_groups=\[(\d+),(\d+)\]<=", instruction.text)
    if counted:
        return int(counted[2])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", instruction.text)
    return len(listed[1].split(",")) if listed else num_devices
