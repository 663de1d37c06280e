"""Image files and PIL images, against `load_image` of diffusers."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from sr_jax.configs import sample
from sr_jax.errors import UserError
from sr_jax.generation.images import fit_image
from sr_jax.media.images import read_image, rgb_pixels
from tests.evaluation.image_files import (
    GREYS_OF_16_BITS,
    HEIGHT,
    KINDS,
    PIXELS,
    TRANSPARENT,
    WIDTH,
    rgb,
    write_image,
)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in TRANSPARENT])
def test_files_and_pil_images_are_read_as_diffusers_reads_them(original, tmp_path, name):
    path, expected = write_image(tmp_path, name), original("images").read(name)
    assert expected.shape == ((WIDTH, HEIGHT, 3) if "turned" in name else (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(rgb_pixels(Image.open(path)), expected)
    # OpenCV is another reader; lossy files it decodes with roundings of its own.
    if not any(word in name for word in ("cmyk", "grey", "two_colours")):
        tolerance = 3 if name.endswith(".jpg") else 0
        np.testing.assert_allclose(cv2.imread(str(path))[..., ::-1].astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_lies_behind_transparent_pixels_is_not_seen(tmp_path, name):
    path = write_image(tmp_path, name)
    pixels = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
    assert pixels[..., 3].min() < 255
    expected = pixels[..., :3] * (pixels[..., 3:] / 255)
    np.testing.assert_allclose(read_image(path), expected, atol=0.51)
    np.testing.assert_array_equal(rgb_pixels(Image.open(path)), read_image(path))


# What each value of EXIF's orientation asks for.
_UPRIGHT = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


@pytest.mark.parametrize("orientation", _UPRIGHT)
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_all_eight_orientations(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb().convert(kind).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), _UPRIGHT[orientation](PIXELS))


def _profile(primaries: np.ndarray, gamma: float) -> bytes:
    """A colour profile (ICC, version 2) of primaries, XYZ in columns, and one curve for all three."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    xyz = [b"XYZ \0\0\0\0" + fixed(*column) for column in primaries.T]
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz)) | {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags |= {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"a\0" + bytes(78 + 2)}
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", place + len(body), len(value))
        body += value
    header = struct.pack(">I4xI4s4s4s12x4s", place + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return header + bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48) + table + body


def test_colours_of_a_wide_screen_become_those_of_a_usual_one(tmp_path):
    # Display P3 and sRGB, both seen in the light of D50.
    p3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
    srgb = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    for alpha in (False, True):
        picture = Image.new("RGBA" if alpha else "RGB", (4, 4), (200, 120, 90, 255)[: 4 if alpha else 3])
        picture.save(tmp_path / "a.png", icc_profile=_profile(p3, 2.2))
        light = np.linalg.inv(srgb) @ p3 @ (np.array([200, 120, 90]) / 255) ** (round(2.2 * 256) / 256)
        expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
        assert expected[0] > 208
        np.testing.assert_allclose(read_image(tmp_path / "a.png")[1, 1], expected, atol=1.5)
    rgb().save(tmp_path / "b.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    np.testing.assert_allclose(read_image(tmp_path / "b.png").astype(int), PIXELS, atol=1)
    for profile in (b"no profile", _profile(p3, 2.2)):
        rgb().convert("L").save(tmp_path / "c.png", icc_profile=profile)
        with pytest.raises(UserError, match="colour profile"):
            read_image(tmp_path / "c.png")


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


def test_a_portrait_is_not_stretched_by_the_settings_of_released_models():
    y, x = np.mgrid[:96, :54]
    circle = np.repeat((255 * (np.hypot(y - 47.5, x - 26.5) < 20)).astype(np.uint8)[..., None], 3, axis=-1)
    for size in ("people", "cogvideox"):
        shown = fit_image(circle, 64, 96, sample.get_config(size).image_fit)[..., 0] > 127
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        # 40 pixels of 54 become 71 of 96, of which the height has 64.
        assert len(columns) == pytest.approx(40 * 96 / 54, abs=2) and len(rows) == 64


def test_images_are_cropped_or_stretched():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    cropped, stretched = (fit_image(wide, 10, 10, how) for how in ("crop", "stretch"))
    assert cropped.min() == 200 and stretched.min() == 0
    assert cropped.shape == stretched.shape == (10, 10, 3)
