"""Fields: the arrays of a record, each with a name and named axes.

Axes are written as jaxtyping writes them, "t h w c"; a number is an axis of that size in every record ("t 4"). Of one
record, axes of one name have one size, whichever fields they belong to.
"""

from collections.abc import Mapping

Fields = Mapping[str, str]
"""Axes by the name of the field: `{"depth_latent": "t h w c", "face_mask": "t"}`."""

CORE_FIELDS: dict[str, str] = {
    "latent_mean": "t h w c",
    "latent_std": "t h w c",
    "image_latents": "k 1 h w c",
    "depth_latent": "t h w c",
    "face_embedding": "t e",
    "face_mask": "t",
    "text_embedding": "l d",
}
"""What every dataset has: T latent frames of H x W latent pixels with C channels, K draws of the first frame (the clean
one is draw 0), E numbers a face, and L tokens of a caption with D numbers each."""

FACE_BOXES: dict[str, str] = {"face_boxes": "t 4"}
"""What a dataset may have: where the face of `face_embedding` is in a latent frame, corners x0, y0, x1, y1 as parts of
the clip's width and height; zeros where there is no face."""


def shapes(fields: Fields, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of arrays from the sizes of their axes.

    Args:
        fields: The arrays.
        sizes: The size of each named axis; others may be there too.

    Raises:
        ValueError: When an axis has no size.
    """
    return {name: tuple(_size(name, axis, sizes) for axis in axes.split()) for name, axes in fields.items()}


def axis_sizes(
    fields: Fields, shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Sizes of named axes from the shapes of arrays: the inverse of `shapes`.

    Args:
        fields: The arrays.
        shapes: Their shapes; others may be there too.
        known: Sizes that are given.

    Returns:
        What is known, and the size of every other axis of `fields`.

    Raises:
        ValueError: When a shape does not fit the axes, or two sizes of an axis differ.
    """
    found = dict(known or {})
    for name, axes in fields.items():
        named = axes.split()
        if len(shapes[name]) != len(named):
            raise ValueError(f"{name} has shape {shapes[name]}, expected the axes {axes!r}")
        for axis, size in zip(named, shapes[name]):
            expected = int(axis) if axis.isdigit() else found.setdefault(axis, size)
            if size != expected:
                raise ValueError(f"{name} has shape {shapes[name]}, but axis {axis} of {axes!r} has size {expected}")
    return found


def _size(name: str, axis: str, sizes: Mapping[str, int]) -> int:
    if axis.isdigit():
        return int(axis)
    if axis not in sizes:
        raise ValueError(f"axis {axis} of {name} has no size: known are {', '.join(sorted(sizes))}")
    return sizes[axis]
