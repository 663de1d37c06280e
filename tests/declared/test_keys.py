"""What a declared key allows, and what it says of itself."""

import dataclasses
from typing import Literal

import pytest

from sr_jax.declared.keys import Each, Key, Part, fields_of, make_config

_NAN, _INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("key", "allowed", "refused", "words"),
    [
        (Key(1, minimum=1), [1, 10**9], [0, -1, True, 1.0, "1", None, (1,)], "a whole number, at least 1"),
        (Key(0.5, minimum=0, maximum=1), [0, 1, 0.5], [-1e-9, 1.5, _NAN, _INFINITE, True], "a number, 0 to 1"),
        (Key(0.5, minimum=0, below=1), [0, 0.999], [1, 1.0], "a number, at least 0 and less than 1"),
        (Key(0.5, above=0), [1e-30, 10**9], [0, -_INFINITE, _INFINITE, _NAN, "a"], "a number, more than 0"),
        (Key(-1, minimum=1, besides=(-1,)), [-1, 1], [0, -2], "a whole number, at least 1, or -1"),
        (Key(True), [False], [0, 1, "True", None], "True or False"),
        (Key("a", choices=("", "a", "b")), ["", "b"], ["A", "c", 1, None], "empty, a or b"),
        (Key(""), ["any"], [1, None, b"any"], "text"),
        (Key(None, kind=int, minimum=1), [None, 2], [0, 2.0, "2"], "a whole number, at least 1, or None"),
        (
            Key((8,), items=Key(8, minimum=1)),
            [(), (1, 2), [3]],
            [(0,), (1, "a"), 8, "8"],
            "a tuple of any length, each a whole number, at least 1",
        ),
        (
            Key((), items=Key((4, 6), length=2, items=Key(4, minimum=1))),
            [(), ((1, 2),), ((1, 2), (3, 4))],
            [(1, 2), ((1, 2, 3),), ((1, 0),)],
            "a tuple of any length, each a tuple of 2, each a whole number, at least 1",
        ),
        (Key({}), [{}, {"a": 1}], [(), "", None], "a dict"),
    ],
)
def test_a_key_has_a_type_and_a_range(key, allowed, refused, words):
    assert [value for value in allowed if not key.allows(value)] == []
    assert [value for value in refused if key.allows(value)] == []
    assert key.in_words() == words


@pytest.mark.parametrize("options", [{"minimum": 1}, {"choices": (1, 2)}, {"kind": str}, {"maximum": 3}])
def test_a_declaration_that_contradicts_itself_is_a_defect(options):
    with pytest.raises(ValueError, match="contradicts itself"):
        Key(0, "Of nothing.", **options)


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """Sizes.

    Attributes:
        width: Channels, of which
            there are some.
        scale: Of positions.
        frames: Of a patch, or None.
        widths: Of stages.
        bias: Whether there is one.
    """

    width: int = 8
    scale: float = 2.0
    frames: int | None = None
    widths: tuple[int, ...] = (8, 16)
    bias: bool = True


def test_a_dataclass_of_sizes_declares_its_fields():
    assert fields_of(_Sizes) == {
        "width": Key(8, "Channels, of which there are some.", kind=int, minimum=1),
        "scale": Key(2.0, "Of positions.", kind=float, above=0),
        "frames": Key(None, "Of a patch, or None.", kind=int, minimum=1),
        "widths": Key((8, 16), "Of stages.", items=Key(8, kind=int, minimum=1)),
        "bias": Key(True, "Whether there is one.", kind=bool),
    }
    assert all(key.optional for key in fields_of(_Sizes, optional=True).values())


@dataclasses.dataclass(frozen=True)
class _Options(_Sizes):
    """Options beside sizes.

    Attributes:
        kind: One or the other.
        grid: Rows and columns.
        margin: Of anything.
        scale: Of positions, which may be 0 here.
    """

    kind: Literal["a", "b"] = "a"
    grid: tuple[int, int] = (2, 3)
    margin: float = dataclasses.field(default=0.0, metadata={"minimum": 0})
    scale: float = dataclasses.field(default=0.0, metadata={"minimum": 0, "maximum": 1})


def test_choices_limits_and_what_is_inherited_are_declared():
    keys = fields_of(_Options)
    assert keys["width"] == fields_of(_Sizes)["width"]
    assert keys["scale"] == Key(0.0, "Of positions, which may be 0 here.", kind=float, minimum=0, maximum=1)
    assert keys["kind"] == Key("a", "One or the other.", choices=("a", "b"))
    assert keys["grid"] == Key((2, 3), "Rows and columns.", items=Key(2, kind=int, minimum=1), length=2)
    assert keys["margin"] == Key(0.0, "Of anything.", kind=float, minimum=0)


def test_a_config_is_made_of_defaults_and_changes():
    keys = {
        "seed": Key(0),
        "rare": Key(0, optional=True),
        "mesh": {"data": Key(1), "fsdp": Key(2)},
        "depth": Part(always={"name": Key("a")}, keys={"size": Key("small")}),
        "alignment": Each(Part({"weight": Key(1.0)}), {"identity": {"weight": 2.0}}),
    }
    assert make_config(keys, {}).to_dict() == {
        "seed": 0,
        "mesh": {"data": 1, "fsdp": 2},
        "depth": {"name": "a", "size": "small"},
        "alignment": {"identity": {"weight": 2.0}},
    }
    changed = make_config(keys, {"rare": 5, "mesh": {"fsdp": 3}, "depth": {"size": "large"}, "alignment": {}})
    assert changed.to_dict() == {
        "seed": 0,
        "rare": 5,
        "mesh": {"data": 1, "fsdp": 3},
        "depth": {"name": "a", "size": "large"},
        "alignment": {},
    }
    with pytest.raises(KeyError, match="not declared: fdsp"):
        make_config(keys, {"mesh": {"fdsp": 3}})
