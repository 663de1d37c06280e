"""Reading single pictures: upright, in RGB, as they are meant to be seen."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps

from sr_jax.errors import UserError

# What a photograph or a drawing is kept in; MPO is a JPEG with smaller pictures or depth behind it.
_STILL_FORMATS = frozenset({"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"})
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


def is_still_image(path: Path) -> bool:
    """Whether the content of a file is that of one picture, whatever its name; no pixels are decoded.

    Animations and files of several pages are none.
    """
    try:
        with Image.open(path) as picture:
            single = picture.format == "MPO" or getattr(picture, "n_frames", 1) == 1
            return picture.format in _STILL_FORMATS and single
    # Files of other kinds and damaged ones arrive as different built-in exceptions.
    except Exception:
        return False


def rgb_pixels(picture: np.ndarray | Image.Image) -> UInt8[np.ndarray, "y x 3"]:
    """The pixels of a picture, as it is meant to be seen.

    A PIL image is turned upright as its EXIF data says, its colours become those of sRGB where a colour profile says
    what they are, and where it is transparent it is put over black, as videos are. Greys of 16 bits are scaled to 8,
    where PIL would clip them.

    Args:
        picture: A PIL image, or uint8 RGB pixels, which are returned as they are.

    Raises:
        UserError: When it is something else, or a PIL image of numbers without a known range or with a colour profile
            that cannot be used.
    """
    if isinstance(picture, Image.Image):
        return _converted(ImageOps.exif_transpose(picture))
    if not isinstance(picture, np.ndarray):
        raise UserError(f"the image is a {type(picture).__name__}: {_WANTED}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise UserError(f"the image is an array {list(picture.shape)} of {picture.dtype}: {_WANTED}")
    return picture


def _converted(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise UserError(f"the image has the PIL mode {picture.mode}, whose range is not known: convert it to RGB first")
    if not picture.has_transparency_data:
        return np.array(_in_srgb(picture).convert("RGB"))
    # What lies behind a transparent pixel is arbitrary.
    pixels = np.array(_in_srgb(picture.convert("RGBA")).convert("RGBA"))
    return (pixels[..., :3] * (pixels[..., 3:] / np.float32(255)) + np.float32(0.5)).astype(np.uint8)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """The picture with the colours of sRGB, if it says by a profile that it has others."""
    stored = picture.info.get("icc_profile")
    if not stored:
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(stored))
        space = profile.profile.xcolor_space.strip()
        modes = {"RGB": ("RGB", "RGBA"), "GRAY": ("L",), "CMYK": ("CMYK",)}.get(space, ())
        # A palette holds colours; a picture that was converted may still carry the profile of what it was.
        if picture.mode == "P" and space == "RGB":
            picture = picture.convert("RGB")
        if picture.mode not in modes:
            raise UserError(f"the image is {picture.mode} with a colour profile for {space}: convert it to sRGB first")
        mode = picture.mode if picture.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (OSError, ImageCms.PyCMSError) as error:
        raise UserError(f"the image has a colour profile that cannot be used ({error}): convert it to sRGB") from error
