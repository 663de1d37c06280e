"""Config sections that name a part: `{"name": NAME, ...}`, with what the part of that name reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from sr_jax import registry
from sr_jax.errors import UserError
from sr_jax.packages import cache_folder

Section = Mapping[str, Any] | ml_collections.ConfigDict


def load(section: Section, key: str, kind: str, *, package: str, attribute: str = "load") -> Any:
    """Calls what a section names with the section.

    Args:
        section: The section.
        key: Where it lies in the config, for messages: "depth".
        kind: What it names, for messages: "depth teacher".
        package: Where the parts of this kind lie; see `registry.find`.
        attribute: What each of its modules defines: a function of the section.

    Raises:
        UserError: When there is no such part, the section lacks something, or the part cannot be loaded.
    """
    if "name" not in section:
        raise UserError(f"the {key} section of the config lacks 'name': set {key}.name")
    return registry.find(kind, section["name"], package=package, attribute=attribute)(section)


def value(section: Section, key: str) -> Any:
    """An entry of a section.

    Raises:
        UserError: When there is none.
    """
    if key not in section:
        raise UserError(f"{section['name']} reads {key!r}, which its config section lacks: add it")
    return section[key]


def weights_path(section: Section) -> Path:
    """The `path` of a section.

    Raises:
        UserError: When there is none, or it is empty.
    """
    if not value(section, "path"):
        raise UserError(f"{section['name']} needs its weights: set the path of its config section")
    return Path(section["path"])


def cache_path(section: Section) -> Path:
    """The `path` of a section as a folder to keep the files of packages in; the user's cache folder where it is empty.

    Raises:
        UserError: When there is no `path`.
    """
    return Path(section["path"]) if value(section, "path") else cache_folder()
