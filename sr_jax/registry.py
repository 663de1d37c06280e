"""Parts by their names in a config.

A short name is a module of the package for its kind, so a file in that folder needs no list to be known in; a name with
a colon, `package.module:attribute`, is a part of anybody's own.
"""

import importlib
import pkgutil
from typing import Any

from sr_jax.errors import UserError


def find(kind: str, name: str, *, package: str, attribute: str) -> Any:
    """The part that a config names.

    Args:
        kind: What it is, for messages: "objective".
        name: A module of `package`, or `package.module:attribute`.
        package: Where the parts of this kind lie: "sr_jax.alignment".
        attribute: What each of its modules defines: "Objective".

    Raises:
        UserError: When there is none of this name.
    """
    module, _, own = name.partition(":")
    if not own and (not module.isidentifier() or not _defines(f"{package}.{module}", attribute)):
        known = names(package, attribute)
        choice = f"choose one of {', '.join(known)}, or name one of your own" if known else "name one of your own"
        raise UserError(f"no {kind} is called {name!r}: {choice} as package.module:attribute")
    try:
        return getattr(importlib.import_module(module if own else f"{package}.{module}"), own or attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"the {kind} {name!r} cannot be imported: {error}") from error


def names(package: str, attribute: str) -> list[str]:
    """The short names of all parts that lie in `package`."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in modules if _defines(f"{package}.{module.name}", attribute))


def _defines(module: str, attribute: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return False
