"""A table of where every array of a tree lives."""

from typing import Any

import jax
from jax.sharding import PartitionSpec
from jax.tree_util import keystr

from sr_jax.parallel.sharding import bytes_per_device


def sharding_table(tree: Any) -> str:
    """One line for each array: path | shape | spec | bytes per device; the last line is the sum.

    Args:
        tree: Leaves with a shape, a type and a `NamedSharding`: arrays, or `jax.ShapeDtypeStruct`.
    """
    rows = [("path", "shape", "spec", "bytes per device")]
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        held = bytes_per_device(leaf, leaf.sharding)
        total += held
        name = keystr(path, simple=True, separator="/")
        rows.append((name, "x".join(map(str, leaf.shape)) or "()", _spec(leaf.sharding.spec), f"{held:,}"))
    rows.append(("total", "", "", f"{total:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        " | ".join([*(text.ljust(width) for text, width in zip(row[:3], widths)), row[3].rjust(widths[3])])
        for row in rows
    )


def _spec(spec: PartitionSpec) -> str:
    if all(axes is None for axes in spec):
        return "replicated"
    parts = (axes if isinstance(axes, tuple) else (axes,) for axes in spec)
    return ", ".join("-" if axes == (None,) else "+".join(axes) for axes in parts)
