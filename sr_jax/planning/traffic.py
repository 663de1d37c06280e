"""What a compiled program reads from and writes to a device's main memory, estimated from its text.

Every instruction that is not fused reads its operands and writes its result once; a slice of an array counts as the
slice, also inside a fusion. What a TPU keeps in its fast memory is not counted.
"""

import re
from collections.abc import Iterator, Mapping

from sr_jax.planning.hlo import Array, Instruction, Program

_FREE = {
    "after-all", "bitcast", "constant", "get-tuple-element", "iota", "opt-barrier", "parameter", "partition-id",
    "tuple",
}  # fmt: skip
_CALLS = {"call", "conditional", "while"}
_ALIASES = {"bitcast", "reshape", "copy"}

Instructions = Mapping[str, Instruction]


def main_memory_bytes(program: Program) -> int:
    """Bytes that one run of the program moves between main memory and cores, estimated."""
    runs = program.executions()
    total = 0
    for name in _unfused(program):
        instructions = program.computations[name]
        for instruction in instructions.values():
            total += runs[name] * _bytes(instruction, instructions, program)
    return total


def _unfused(program: Program) -> set[str]:
    """The computations whose instructions run one by one."""
    found, waiting = set(), [program.entry]
    while waiting:
        name = waiting.pop()
        if name in found or name not in program.computations:
            continue
        found.add(name)
        for instruction in program.computations[name].values():
            if instruction.opcode in _CALLS:
                waiting += instruction.called
    return found


def _bytes(instruction: Instruction, instructions: Instructions, program: Program) -> int:
    opcode = instruction.opcode
    if opcode in _FREE or opcode in _CALLS or opcode.endswith("-done"):
        return 0
    operands = [instructions[name] for name in instruction.operands if name in instructions]
    if opcode == "fusion" and instruction.called:
        return _fusion_bytes(instruction, operands, program.computations[instruction.called[0]])
    if opcode == "dynamic-slice":
        return 2 * _in_hbm(instruction.result)
    if opcode == "dynamic-update-slice":
        return 2 * _in_hbm(operands[1].result)
    if opcode.endswith("-start"):
        # Its result holds its operands too.
        return _in_hbm(instruction.result)
    return _in_hbm(instruction.result) + sum(_in_hbm(operand.result) for operand in operands)


def _fusion_bytes(fusion: Instruction, operands: list[Instruction], body: Instructions) -> int:
    """The bytes of a fusion: operands that it only slices count as the slices, results updated in place as updates."""
    users: dict[str, list[Instruction]] = {}
    for inside in body.values():
        for name in inside.operands:
            users.setdefault(name, []).append(inside)
    total = 0
    updated = False
    for inside in body.values():
        index = re.search(r"parameter\((\d+)\)", inside.text) if inside.opcode == "parameter" else None
        if index is None or int(index[1]) >= len(operands) or not _in_hbm(operands[int(index[1])].result):
            continue
        uses = list(_uses(inside, users))
        kinds = {use.opcode if name == use.operands[0] else "" for name, use in uses}
        if kinds == {"dynamic-slice"}:
            total += sum(_size(use) for _, use in uses)
        elif kinds == {"dynamic-update-slice"}:
            updated = True
            total += sum(2 * _size(body[use.operands[1]]) for _, use in uses)
        else:
            total += _in_hbm(operands[int(index[1])].result)
    return total if updated else total + _in_hbm(fusion.result)


def _uses(instruction: Instruction, users: Mapping[str, list[Instruction]]) -> Iterator[tuple[str, Instruction]]:
    """Who reads a value and under what name, through operations that only rename it."""
    for user in users.get(instruction.name, ()):
        if user.opcode in _ALIASES:
            yield from _uses(user, users)
        else:
            yield instruction.name, user


def _in_hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if array.in_hbm)


def _size(instruction: Instruction) -> int:
    return sum(array.bytes for array in instruction.result)
