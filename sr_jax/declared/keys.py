"""Config keys, each declared once: type, range, default and one line of meaning.

A declaration is a mapping from names to a `Key`, a section (a mapping again), a `Part` or an `Each`. Configs are made
of it (`make_config`), and held against it (see `checking`).
"""

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Union

import ml_collections

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple",
    dict: "a dict",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """A config key, or what a tuple holds.

    A float may be given as a whole number, and is finite. The range is that of the value, or of what `items` says.

    Attributes:
        default: Its value where nothing else is said; the type of all its values, unless `kind` names that.
        meaning: One line, which `--help` prints.
        minimum: The least value.
        maximum: The greatest value.
        above: All values are greater than this.
        below: All values are less than this.
        choices: The values there are; None: all that the range has.
        besides: Values that are allowed beside the range.
        kind: The type of a key that may be None.
        items: What each entry of a tuple is.
        length: Entries of a tuple; None: any number.
        optional: Whether a config may lack it; what `make_config` makes lacks it, unless it is asked for.
    """

    default: Any = dataclasses.field(kw_only=False)
    meaning: str = dataclasses.field(kw_only=False, default="")
    minimum: int | float | None = None
    maximum: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None
    choices: tuple[Any, ...] | None = None
    besides: tuple[Any, ...] = ()
    kind: type | None = None
    items: "Key | None" = None
    length: int | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        """Checks the declaration itself.

        Raises:
            ValueError: When it does not allow its own default, or has a maximum and no minimum.
        """
        if not self.allows(self.default) or (self.maximum is not None and self.minimum is None):
            raise ValueError(f"{self} contradicts itself")

    @property
    def value_type(self) -> type:
        """Of all values but None."""
        return self.kind or type(self.default)

    def allows(self, value: Any) -> bool:
        """Whether the key may have a value."""
        if value is None:
            return self.default is None
        if not _has_type(value, self.value_type):
            return False
        if self.value_type is tuple:
            return self.length in (None, len(value)) and (not self.items or all(map(self.items.allows, value)))
        if self.choices is not None:
            return value in self.choices
        return self._in_range(value) or value in self.besides

    def _in_range(self, value: Any) -> bool:
        bounds: list[tuple[int | float | None, Callable[[int | float], bool]]] = [
            (self.minimum, lambda bound: value >= bound),
            (self.maximum, lambda bound: value <= bound),
            (self.above, lambda bound: value > bound),
            (self.below, lambda bound: value < bound),
        ]
        return all(holds(bound) for bound, holds in bounds if bound is not None)

    def in_words(self) -> str:
        """The values that it may have, in words."""
        if self.choices is not None:
            text = _listed([choice if choice != "" else "empty" for choice in self.choices])
        else:
            bounds = {"at least": self.minimum, "more than": self.above, "less than": self.below}
            if self.maximum is not None:
                bounds |= {"at least": None, f"{self.minimum} to": self.maximum}
            limits = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
            text = _KINDS[self.value_type] + (f", {limits}" if limits else "")
        if self.items is not None:
            text += f" of {self.length or 'any length'}, each {self.items.in_words()}"
        return text + "".join(f", or {value}" for value in (*self.besides, *([None] if self.default is None else [])))


@dataclasses.dataclass(frozen=True)
class Part:
    """A section that a part reads which is named in the config, and may be anybody's own with keys of its own.

    Attributes:
        keys: Keys of the parts of this package. Each is there so that another name can be chosen, and set up, on the
            command line: one that the named part does not read counts for nothing.
        always: Keys that are read whatever the part is.
        required: Those that a section may not lack.
        named_by: The key with the part's name, in the section or at the top of the config; where there is none, the
            section's own key is the name.
        names: The parts whose keys these are; None: all of this package.
        own: Keys that one part alone reads, by its name; another part may not have them.
    """

    keys: Mapping[str, Key]
    always: Mapping[str, Key] = dataclasses.field(default_factory=dict)
    required: Collection[str] = ()
    named_by: str = "name"
    names: Collection[str] | None = None
    own: Mapping[str, Mapping[str, Key]] = dataclasses.field(default_factory=dict)

    def keys_of(self, name: str) -> dict[str, Key]:
        """The keys that a section of the part of this name may have, if it is one of these."""
        return {**self.always, **self.keys, **self.own.get(name, {})}

    def declares(self, name: str) -> bool:
        """Whether these are the keys of the part of this name."""
        if self.names is not None:
            return name in self.names
        module, colon, _ = name.partition(":")
        return not colon or module.partition(".")[0] == __name__.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class Each:
    """A section with any number of parts, by any names; a config of the declaration has those of `default`."""

    part: Part
    default: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


Keys = Mapping[str, Any]
"""A declaration: a `Key`, `Part`, `Each` or `Keys` for each name."""


def fields_of(cls: type, *, optional: bool = False) -> dict[str, Key]:
    """A key for each field of a dataclass of sizes, which declares them: the meaning is that of its docstring.

    Whole numbers are at least 1, and all other numbers more than 0, unless the field's `metadata` has other limits, by
    the names that `Key` gives them. A `Literal` is a choice.

    Args:
        cls: The dataclass; all fields have defaults. Those that it inherits may have their meaning where they are from.
        optional: Whether a config may lack any of them.
    """
    hints, meanings, keys = typing.get_type_hints(cls), _meanings(cls), {}
    for field in dataclasses.fields(cls):
        key = _key_of_type(hints[field.name], field.default, meanings[field.name], field.metadata)
        keys[field.name] = dataclasses.replace(key, optional=optional)
    return keys


def _meanings(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        attributes = (inspect.getdoc(base) or "").partition("Attributes:\n")[2]
        found |= dict(re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE))
    return {name: " ".join(meaning.split()) for name, meaning in found.items()}


def _key_of_type(hint: Any, default: Any, meaning: str, limits: Mapping[str, Any]) -> Key:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return Key(default, meaning, choices=parts)
    if origin is tuple:
        length = None if parts[-1] is Ellipsis else len(parts)
        return Key(default, meaning, items=_key_of_type(parts[0], default[0], "", limits), length=length)
    kinds = parts if origin in (Union, types.UnionType) else (hint,)
    kind = next(kind for kind in kinds if kind is not type(None))
    usual: dict[type, dict[str, int]] = {int: {"minimum": 1}, float: {"above": 0}}
    return Key(default, meaning, kind=kind, **(limits or usual.get(kind, {})))


def make_config(keys: Keys, changes: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config that a declaration describes.

    Args:
        keys: The declaration.
        changes: Values other than the defaults, nested as the declaration is.

    Raises:
        KeyError: For a change of what is not declared.
    """
    return ml_collections.ConfigDict(_values(keys, changes))


def _values(keys: Keys, changes: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := changes.keys() - keys.keys():
        raise KeyError(f"not declared: {', '.join(sorted(unknown))}")
    values = {}
    for name, node in keys.items():
        if isinstance(node, Key):
            if name in changes or not node.optional:
                values[name] = changes.get(name, node.default)
        elif isinstance(node, Each):
            values[name] = dict(changes.get(name, node.default))
        else:
            section = {**node.always, **node.keys} if isinstance(node, Part) else node
            values[name] = _values(section, changes.get(name, {}))
    return values


def _has_type(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted is dict:
        return isinstance(value, Mapping | ml_collections.ConfigDict)
    return isinstance(value, tuple | list if wanted is tuple else wanted)


def _listed(choices: Collection[Any]) -> str:
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last
