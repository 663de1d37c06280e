"""The values of a release's config, checked before anything is built of them."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from sr_jax.errors import UserError

LARGEST = 2**20
"""What no size of a model comes near: above it a config is damaged, and what it asks for would fill the memory."""
MOST_LAYERS = 1000
"""The same for how many layers a model may have."""

# What loaders of other programs read, and what says nothing of the numbers: diffusers passes over it, too. Weights that
# are really quantised are refused by their types.
_WITHOUT_EFFECT = frozenset(
    {"architectures", "dtype", "model_type", "quantization_config", "torch_dtype", "transformers_version"}
)
_SHOWN = 60

Config = TypeVar("Config")


def read_fields(
    given: Mapping[str, Any],
    kind: type[Config],
    *,
    what: str,
    fixed: Mapping[str, Any] = types.MappingProxyType({}),
    without_effect: Iterable[str] = (),
    needed: Iterable[str] = (),
    others: bool = False,
) -> Config:
    """A dataclass from the JSON object of a release.

    Whole numbers and the members of lists must be 1 to `LARGEST`, other numbers above 0 and no larger.

    Args:
        given: The JSON object. Names that begin with "_" are diffusers' own.
        kind: The dataclass; a field that is left out has its default.
        what: The object, for messages: "the transformer's config".
        fixed: What our implementation computes always, by name; a value given must be that.
        without_effect: Further names whose values change nothing.
        needed: Fields that must not be left out.
        others: Whether to pass over unknown names, instead of refusing those that are set to something.

    Raises:
        UserError: Naming the field, for a value of a wrong type or range, another one than is computed, or an unknown
            name.
    """
    missing = [name for name in needed if name not in given]
    if missing:
        raise UserError(f"{what} lacks {', '.join(missing)}: use the file that belongs to the weights")
    hints, values = typing.get_type_hints(kind), {}
    names = {field.name for field in dataclasses.fields(kind)}
    passed_over = _WITHOUT_EFFECT | set(without_effect)
    for name, value in given.items():
        if name in names:
            values[name] = _read(value, hints[name], f"{what} has {name} {shown(value)}")
        elif name in fixed:
            if not _same(value, fixed[name]):
                raise UserError(f"{what} has {name} {shown(value)}: only {shown(fixed[name])} is supported")
        elif not (others or name in passed_over or name.startswith("_")) and value not in (None, False, [], {}, ""):
            raise UserError(f"{what} has {shown(name)[1:-1]}, which is unknown here: it is no released model")
    return kind(**values)


def require(condition: bool, what: str, name: str, value: Any, wanted: str) -> None:
    """Checks one field of a config.

    Raises:
        UserError: Naming it, its value and what is wanted, when the condition does not hold.
    """
    if not condition:
        raise UserError(f"{what} has {name} {shown(value)}: it must be {wanted}")


def shown(value: Any) -> str:
    """A value of a config on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _read(value: Any, hint: Any, start: str) -> Any:
    """A value as the type that a field has; `start` is that of the message."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in choices:
        return None
    [wanted] = [choice for choice in choices if choice is not type(None)]
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple) or not all(map(_is_size, value)):
            raise UserError(f"{start}: it must be a list of whole numbers, 1 to {LARGEST}")
        return tuple(value)
    if wanted is bool and not isinstance(value, bool):
        raise UserError(f"{start}: it must be true or false")
    if wanted is int and not _is_size(value):
        raise UserError(f"{start}: it must be a whole number, 1 to {LARGEST}")
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_positive(value):
            raise UserError(f"{start}: it must be a number above 0, at most {LARGEST}")
        return float(value)
    if wanted is str and not isinstance(value, str):
        raise UserError(f"{start}: it must be a word")
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST


def _is_positive(value: float | int) -> bool:
    # Whole numbers of JSON can be too large for a float.
    try:
        return 0 < float(value) <= LARGEST
    except OverflowError:
        return False


def _same(value: Any, wanted: Any) -> bool:
    """Equal as JSON has it: true is not 1, and a tuple is a list."""
    if isinstance(wanted, tuple):
        return isinstance(value, list | tuple) and tuple(value) == wanted
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted
