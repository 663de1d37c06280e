"""Image files and PIL images, against `load_image` of diffusers."""

import cv2
import numpy as np
import pytest
from diffusers.utils import load_image
from PIL import Image

from sr_jax.errors import UserError
from sr_jax.generation.images import fit_image, read_image, rgb_pixels

HEIGHT, WIDTH = 20, 28
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
# Smooth, and different at every corner.
PIXELS = np.stack([9 * _Y, 8 * _X, 5 * (_X + _Y)], axis=-1).astype(np.uint8)
ALPHA = np.where(_X > 10, 255, 40).astype(np.uint8)


def _rgb() -> Image.Image:
    return Image.fromarray(PIXELS)


def _transparent() -> Image.Image:
    return Image.fromarray(np.dstack([PIXELS, ALPHA]))


def _turned(path) -> None:
    exif = Image.Exif()
    # Orientation: to be turned by a quarter.
    exif[0x0112] = 6
    _rgb().save(path, exif=exif)


FILES = {
    "rgb.png": lambda path: _rgb().save(path),
    "rgb.jpg": lambda path: _rgb().save(path),
    "grey.png": lambda path: _rgb().convert("L").save(path),
    "grey.jpg": lambda path: _rgb().convert("L").save(path),
    "alpha.png": lambda path: _transparent().save(path),
    "grey_alpha.png": lambda path: _transparent().convert("LA").save(path),
    "palette.png": lambda path: _rgb().quantize(16).save(path),
    "transparent_palette.png": lambda path: _rgb().quantize(16).save(path, transparency=3),
    "two_colours.png": lambda path: _rgb().convert("1").save(path),
    "cmyk.jpg": lambda path: _rgb().convert("CMYK").save(path),
    "turned.jpg": _turned,
    "turned.png": _turned,
    "16_bits.png": lambda path: cv2.imwrite(str(path), PIXELS[..., ::-1].astype(np.uint16) * 257),
}


@pytest.mark.parametrize("name", FILES)
def test_files_and_pil_images_are_read_as_diffusers_reads_them(tmp_path, name):
    path = tmp_path / name
    FILES[name](path)
    expected = np.asarray(load_image(str(path)))
    assert expected.shape == ((WIDTH, HEIGHT, 3) if "turned" in name else (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(rgb_pixels(Image.open(path)), expected)
    # OpenCV is another reader; lossy files it decodes with roundings of its own.
    if not any(word in name for word in ("cmyk", "grey", "two_colours")):
        tolerance = 3 if name.endswith(".jpg") else 0
        np.testing.assert_allclose(cv2.imread(str(path))[..., ::-1].astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_greys_of_16_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    path = tmp_path / f"grey.{suffix}"
    cv2.imwrite(str(path), PIXELS[..., 0].astype(np.uint16) * 257)
    expected = np.repeat(PIXELS[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(rgb_pixels(Image.open(path)), expected)
    assert np.asarray(load_image(str(path))).mean() > 200


def test_files_that_are_no_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="no image file"):
        read_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(UserError, match=r"text\.png is not an image that can be read .*: give a PNG or a JPEG file"):
        read_image(tmp_path / "text.png")
    _rgb().save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"half\.png is not an image that can be read"):
        read_image(tmp_path / "half.png")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pil_images_without_known_colours_are_refused(mode):
    with pytest.raises(UserError, match=f"has the PIL mode {mode}.*: convert it to RGB first"):
        rgb_pixels(Image.new(mode, (4, 4)))


def test_images_are_cropped_or_stretched():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    cropped, stretched = (fit_image(wide, 10, 10, how) for how in ("crop", "stretch"))
    assert cropped.min() == 200 and stretched.min() == 0
    assert cropped.shape == stretched.shape == (10, 10, 3)
