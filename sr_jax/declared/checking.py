"""Holding a config against its declaration, by the path of each key: one that a user made is checked as ours are."""

import difflib
from collections.abc import Collection, Iterator
from typing import Any

import ml_collections

from sr_jax.declared.keys import Each, Key, Keys, Part
from sr_jax.errors import UserError

_LEAST_LIKENESS = 0.6
"""Of two names that may be one, misspelt (`difflib`); among those alike, the whole paths decide."""


def check(keys: Keys, config: ml_collections.ConfigDict) -> None:
    """Holds a config against a declaration.

    Raises:
        UserError: Naming the first key that is not declared, is missing, or has a value that it may not have.
    """
    for path, key, value in entries(keys, config):
        if key is not None and not key.allows(value):
            raise UserError(f"config.{path} is {value!r}: it must be {key.in_words()} ({key.meaning.rstrip('.')})")


def entries(keys: Keys, config: ml_collections.ConfigDict) -> Iterator[tuple[str, Key | None, Any]]:
    """Every key of a config with its path and value; a part of a user's own has keys that are not declared (None).

    Raises:
        UserError: For a key that is not declared, one that is missing, or a value in the place of a section.
    """
    yield from _Walk(config).entries(keys, config, "")


class _Walk:
    """Goes through a config, whose sections may depend on a key at its top."""

    def __init__(self, config: ml_collections.ConfigDict):
        self._config = config

    def entries(self, keys: Keys, section: Any, path: str) -> Iterator[tuple[str, Key | None, Any]]:
        """The entries of a section; `path` ends with a dot, or is empty."""
        required = [name for name, node in keys.items() if not (isinstance(node, Key) and node.optional)]
        _require_names(section, keys, required, path)
        for name, node in keys.items():
            if name in section:
                yield from self._entry(node, section[name], f"{path}{name}")

    def _entry(self, node: Any, value: Any, path: str) -> Iterator[tuple[str, Key | None, Any]]:
        if isinstance(node, Key):
            yield path, node, value
        elif isinstance(node, Part):
            yield from self._part(node, value, path)
        elif isinstance(node, Each):
            _require_section(value, path)
            for name in value:
                yield from self._part(node.part, value[name], f"{path}.{name}")
        else:
            yield from self.entries(node, value, f"{path}.")

    def _part(self, part: Part, section: Any, path: str) -> Iterator[tuple[str, Key | None, Any]]:
        _require_section(section, path)
        name = section.get(part.named_by, self._config.get(part.named_by, path.rpartition(".")[2]))
        keys: dict[str, Key | None] = {**part.keys_of(name if isinstance(name, str) else "")}
        if isinstance(name, str) and not part.declares(name):
            keys = {key: part.always.get(key) for key in (*part.always, *section)}
        _require_names(section, keys, part.required, f"{path}.")
        yield from ((f"{path}.{key}", node, section[key]) for key, node in keys.items() if key in section)


def _require_section(value: Any, path: str) -> None:
    if not isinstance(value, ml_collections.ConfigDict):
        raise UserError(f"config.{path} is {value!r}: it must be a section with keys of its own")


def _require_names(section: Any, keys: Keys, required: Collection[str], path: str) -> None:
    """Checks which keys a section has, whatever their values."""
    _require_section(section, path.rstrip("."))
    for name in section:
        if name not in keys:
            raise UserError(unknown_key(f"{path}{name}", paths_of(keys, path), section=sorted(keys)))
    for name in required:
        if name not in section:
            default = f" (its default is {keys[name].default!r})" if isinstance(keys[name], Key) else ""
            raise UserError(f"the config lacks {path}{name}: set it{default}")


def paths_of(keys: Keys, prefix: str = "") -> list[str]:
    """The paths of all keys of a declaration."""
    paths = []
    for name, node in keys.items():
        path = f"{prefix}{name}"
        if isinstance(node, Key | Each):
            paths.append(path)
        else:
            paths += paths_of({**node.always, **node.keys} if isinstance(node, Part) else node, f"{path}.")
    return paths


def unknown_key(path: str, known: Collection[str], *, section: Collection[str]) -> str:
    """What to say of a key that there is not: the one that was meant, or else those beside it.

    Args:
        path: The key's.
        known: Paths of the keys there are.
        section: Names of the keys beside it.
    """

    def likeness(other: str) -> tuple[float, float]:
        ends = (path.rpartition(".")[2], other.rpartition(".")[2])
        return difflib.SequenceMatcher(None, *ends).ratio(), difflib.SequenceMatcher(None, path, other).ratio()

    best = max(known, key=likeness, default="")
    if best and likeness(best)[0] >= _LEAST_LIKENESS:
        return f"no config key {path!r}: did you mean {best!r}?"
    return f"no config key {path!r}: {path.rpartition('.')[0] or 'the config'} has {', '.join(section)}"
