"""The compiled program as text (HLO), read as far as planning needs it: instructions, their bytes, how often each runs.

A loop's trip count is XLA's own note on it where there is one (CPU, GPU), or else the constant that the loop's
condition compares its counter with (TPU); `jax.lax.scan` counts from 0 in steps of 1. A loop with neither counts once.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "s2": 2, "u2": 2, "s4": 4, "u4": 4, "f4e2m1fn": 4, "bf16": 16, "c64": 64, "c128": 128, "token": 0}
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"^ ?([a-z][\w\-]*)\(")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|called_computations|branch_computations)=\{?([^,}\s]+(?:, ?%[^,}\s]+)*)"
)
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result.

    Attributes:
        bytes: Its size, without the padding of its layout.
        in_hbm: Whether it lives in the device's main memory, and not in a TPU's fast one.
    """

    bytes: int
    in_hbm: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
        name: Its name, unique in the program.
        opcode: For example "all-gather" or "fusion".
        result: The arrays that it returns.
        operands: Names of its operands.
        text: All of it.
    """

    name: str
    opcode: str
    result: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str

    @property
    def called(self) -> tuple[str, ...]:
        """The computations that it calls, a loop's body and condition included."""
        lists = _CALLED.findall(self.text)
        return tuple(name.strip().lstrip("%") for names in lists for name in names.split(","))


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program of one device.

    Attributes:
        computations: Instructions by name, in order, of every computation by name.
        entry: Name of the computation that runs first.
    """

    computations: dict[str, dict[str, Instruction]]
    entry: str

    def executions(self) -> dict[str, int]:
        """How often each computation runs in one run of the program; both sides of a condition count."""
        runs = dict.fromkeys(self.computations, 0)

        def visit(name: str, times: int) -> None:
            runs[name] += times
            for instruction in self.computations[name].values():
                repeats = self._trip_count(instruction) if instruction.opcode == "while" else 1
                for called in instruction.called:
                    if called in self.computations:
                        visit(called, times * repeats)

        visit(self.entry, 1)
        return runs

    def _trip_count(self, loop: Instruction) -> int:
        noted = _TRIP_COUNT.search(loop.text)
        if noted:
            return int(noted[1])
        condition = self.computations.get(re.search(r"condition=%?([\w.\-]+)", loop.text)[1], {})
        for instruction in condition.values():
            if instruction.opcode == "compare" and "direction=LT" in instruction.text:
                bound = condition.get(instruction.operands[1])
                constant = bound and re.search(r"constant\((\d+)\)", bound.text)
                if constant:
                    return int(constant[1])
        return 1


def parse(text: str) -> Program:
    """Reads `compiled.as_text()`.

    Raises:
        ValueError: When it has no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", {}
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start:
            current = computations.setdefault(start[2], {})
            entry = start[2] if start[1] else entry
        elif (match := _INSTRUCTION.match(line)) and (instruction := _instruction(*match.groups())):
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("the text holds no HLO program: it has no ENTRY computation")
    return Program(computations, entry)


def _instruction(name: str, text: str) -> Instruction | None:
    end = _balanced(text, 0) if text.startswith("(") else text.find(" ")
    opcode = _OPCODE.match(text[end:])
    if not opcode:
        return None
    start = end + opcode.end() - 1
    operands = tuple(re.findall(r"%([\w.\-]+)", text[start : _balanced(text, start)]))
    return Instruction(name, opcode[1], tuple(_arrays(text[:end])), operands, text)


def _balanced(text: str, start: int) -> int:
    """The index behind the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if not depth:
            return index + 1
    return len(text)


def _arrays(shape: str) -> Iterator[Array]:
    for dtype, dims, layout in _SHAPE.findall(shape):
        bits = _BITS.get(dtype) or int((re.search(r"\d+", dtype) or ["0"])[0])
        elements = math.prod(int(size) for size in dims.split(",") if size)
        # S(1) and above are a TPU's on-chip memories, S(5) the host's.
        yield Array(math.ceil(elements * bits / 8), "S(" not in (layout or ""))
