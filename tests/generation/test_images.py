"""Image files and PIL images, against `load_image` of diffusers."""

import cv2
import numpy as np
import pytest
from PIL import Image

from sr_jax.errors import UserError
from sr_jax.generation.images import fit_image, read_image, rgb_pixels
from tests.evaluation.image_files import GREYS_OF_16_BITS, HEIGHT, KINDS, PIXELS, WIDTH, rgb, write_image


@pytest.mark.parametrize("name", KINDS)
def test_files_and_pil_images_are_read_as_diffusers_reads_them(original, tmp_path, name):
    path, expected = write_image(tmp_path, name), original("images").read(name)
    assert expected.shape == ((WIDTH, HEIGHT, 3) if "turned" in name else (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(rgb_pixels(Image.open(path)), expected)
    # OpenCV is another reader; lossy files it decodes with roundings of its own.
    if not any(word in name for word in ("cmyk", "grey", "two_colours")):
        tolerance = 3 if name.endswith(".jpg") else 0
        np.testing.assert_allclose(cv2.imread(str(path))[..., ::-1].astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("name", GREYS_OF_16_BITS)
def test_greys_of_16_bits_are_scaled_and_not_clipped(original, tmp_path, name):
    path, expected = write_image(tmp_path, name), np.repeat(PIXELS[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(rgb_pixels(Image.open(path)), expected)
    assert original("images").read(name).mean() > 200


def test_files_that_are_no_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="no image file"):
        read_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(UserError, match=r"text\.png is not an image that can be read .*: give a PNG or a JPEG file"):
        read_image(tmp_path / "text.png")
    rgb().save(tmp_path / "half.png")
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
