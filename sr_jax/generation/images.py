"""The picture that a clip starts from: read, made RGB, and made to fit."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from sr_jax.errors import UserError
from sr_jax.media.video import resize_and_crop

_WANTED = "give uint8 RGB pixels [height, width, 3] or a PIL image"


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as RGB (diffusers: `load_image`); see `rgb_pixels`.

    Raises:
        UserError: When the file is missing or is no image.
    """
    if not path.is_file():
        raise UserError(f"no image file {path}")
    try:
        with Image.open(path) as picture:
            return rgb_pixels(picture)
    except UserError:
        raise
    # A file of another kind, one that is damaged and one that is too large arrive as different built-in exceptions.
    except Exception as error:
        raise UserError(f"{path} is not an image that can be read ({error}): give a PNG or a JPEG file") from error


def rgb_pixels(picture: np.ndarray | Image.Image) -> UInt8[np.ndarray, "y x 3"]:
    """The pixels of a picture; a PIL image is turned upright as its EXIF data says, and becomes RGB without alpha.

    Greys of 16 bits are scaled to 8, where PIL would clip them.

    Args:
        picture: A PIL image, or uint8 RGB pixels, which are returned as they are.

    Raises:
        UserError: When it is something else, or a PIL image of numbers without a known range.
    """
    if isinstance(picture, Image.Image):
        return _converted(ImageOps.exif_transpose(picture))
    if not isinstance(picture, np.ndarray):
        raise UserError(f"the image is a {type(picture).__name__}: {_WANTED}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise UserError(f"the image is an array {list(picture.shape)} of {picture.dtype}: {_WANTED}")
    return picture


def fit_image(
    image: UInt8[np.ndarray, "y x 3"], height: int, width: int, how: str
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Makes an image fit: "crop" keeps its aspect and cuts off what is over, as `prepare` does with videos.

    "stretch" changes its aspect, as diffusers' pipelines do (`VaeImageProcessor`, Lanczos).
    """
    return FITS[how](image, height, width)


def _converted(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise UserError(f"the image has the PIL mode {picture.mode}, whose range is not known: convert it to RGB first")
    return np.array(picture.convert("RGB"))


def _crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize_and_crop(image[None], height, width)[0]


def _stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


FITS = {"crop": _crop, "stretch": _stretch}
"""The ways of `fit_image` by name."""
