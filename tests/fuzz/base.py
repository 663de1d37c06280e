"""What must hold for any input, and how long it is tried.

A part is a module of this folder with `PROPERTIES`; `PARTS` names them. The everyday tests try a few examples of each
property, `python -m benchmarks.fuzz_inputs` as many as there is time for.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis.strategies import SearchStrategy

from sr_jax.errors import UserError

PARTS = ("captions", "depth", "releases", "command_line")
"""The modules of this folder that have `PROPERTIES`."""


@dataclasses.dataclass(frozen=True)
class Property:
    """Something that must hold for every example.

    Attributes:
        name: What holds.
        examples: Where they come from.
        holds: Called with one; raises anything at all when it does not hold.
    """

    name: str
    examples: SearchStrategy
    holds: Callable[[Any], None]


def properties(part: str) -> list[Property]:
    """Those of a part."""
    return importlib.import_module(f"tests.fuzz.{part}").PROPERTIES


def refusal(call: Callable[[], Any]) -> str | None:
    """The line that refuses an input; None where it is taken. Any other exception is a defect and goes through."""
    try:
        call()
    except UserError as error:
        assert str(error).strip()
        return str(error)
    return None


def try_examples(item: Property, count: int, seed: int) -> None:
    """Tries so many examples of a property.

    Raises:
        Exception: As the property, with the smallest example that was found.
    """

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(item.examples)
    def test(example: Any) -> None:
        item.holds(example)

    test()


def try_for(item: Property, seconds: float, seed: int = 0, at_once: int = 200) -> int:
    """Tries examples of a property until the time is up; returns how many.

    Raises:
        Exception: As the property.
    """
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try_examples(item, at_once, seed + tried)
        tried += at_once
    return tried
