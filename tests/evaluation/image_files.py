"""Image files of many kinds, all of the same picture."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 20, 28
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
# Smooth, and different at every corner.
PIXELS = np.stack([9 * _Y, 8 * _X, 5 * (_X + _Y)], axis=-1).astype(np.uint8)
_ALPHA = np.where(_X > 10, 255, 40).astype(np.uint8)


def rgb() -> Image.Image:
    return Image.fromarray(PIXELS)


def _transparent() -> Image.Image:
    return Image.fromarray(np.dstack([PIXELS, _ALPHA]))


def _turned(path: Path) -> None:
    exif = Image.Exif()
    # Orientation: to be turned by a quarter.
    exif[0x0112] = 6
    rgb().save(path, exif=exif)


def _grey_of_16_bits(path: Path) -> None:
    cv2.imwrite(str(path), PIXELS[..., 0].astype(np.uint16) * 257)


KINDS: dict[str, Callable[[Path], object]] = {
    "rgb.png": lambda path: rgb().save(path),
    "rgb.jpg": lambda path: rgb().save(path),
    "grey.png": lambda path: rgb().convert("L").save(path),
    "grey.jpg": lambda path: rgb().convert("L").save(path),
    "alpha.png": lambda path: _transparent().save(path),
    "grey_alpha.png": lambda path: _transparent().convert("LA").save(path),
    "palette.png": lambda path: rgb().quantize(16).save(path),
    "transparent_palette.png": lambda path: rgb().quantize(16).save(path, transparency=3),
    "two_colours.png": lambda path: rgb().convert("1").save(path),
    "cmyk.jpg": lambda path: rgb().convert("CMYK").save(path),
    "turned.jpg": _turned,
    "turned.png": _turned,
    "16_bits.png": lambda path: cv2.imwrite(str(path), PIXELS[..., ::-1].astype(np.uint16) * 257),
}
"""Writes a file of this name. What `load_image` of diffusers makes of each is what we make of it, but of the next."""
TRANSPARENT = ("alpha.png", "grey_alpha.png", "transparent_palette.png")
"""Files of which diffusers shows what lies behind transparent pixels."""
GREYS_OF_16_BITS = {"16_bits_grey.png": _grey_of_16_bits, "16_bits_grey.tif": _grey_of_16_bits}
"""Files that diffusers clips."""


def write_image(folder: Path, name: str) -> Path:
    """The file of this name, in a folder."""
    (KINDS | GREYS_OF_16_BITS)[name](folder / name)
    return folder / name
