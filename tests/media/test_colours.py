"""The same picture stored in many ways looks the same; curves and primaries after ITU-R BT.2100 and BT.2087."""

import av
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.media.video import read_video
from tests.media.files import write

# White, grey, red and skin.
_PATCHES = np.array([[255, 255, 255], [128, 128, 128], [220, 60, 50], [224, 172, 140]], np.uint8)
# From BT.709 to BT.2020, both linear.
_WIDER = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
# Weights of red and blue in luma, by the number of the matrix.
_LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
# A white page is this bright, in candela per square metre.
_PAPER = 203.0


def _picture(height=64, width=64):
    """The four patches, one in each quarter."""
    rows = np.repeat(_PATCHES.reshape(2, 2, 3), height // 2, axis=0)
    return np.repeat(rows, width // 2, axis=1)


def _frames(rgb, matrix, limited, bits=8, count=2):
    """Frames of Y'CbCr without subsampling, of R'G'B' in [0, 1]."""
    red, blue = _LUMA[matrix]
    luma = rgb @ [red, 1 - red - blue, blue]
    planes = [luma, (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    unit = 2.0 ** (bits - 8)
    scales = [(219, 16), (224, 128), (224, 128)] if limited else [(255, 0), (255, 128), (255, 128)]
    stored = np.stack([np.round(unit * (plane * scale + first)) for plane, (scale, first) in zip(planes, scales)])
    pixel_format = "yuv444p" if bits == 8 else "yuv444p10le"
    frames = [av.VideoFrame(rgb.shape[1], rgb.shape[0], pixel_format) for _ in range(count)]
    for frame in frames:
        for plane, numbers in zip(frame.planes, stored.clip(0, 2**bits - 1).astype(np.uint8 if bits == 8 else "<u2")):
            lines = np.zeros((frame.height, plane.line_size), np.uint8)
            lines[:, : numbers.nbytes // frame.height] = numbers.view(np.uint8).reshape(frame.height, -1)
            plane.update(lines)
    return frames, pixel_format


def _first(path):
    with open_video(path) as video:
        return next(video.pictures).pixels().astype(int)


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_the_same_picture_in_every_luma_and_range(tmp_path, matrix, limited, codec):
    picture = _picture()
    frames, pixel_format = _frames(picture / 255, matrix, limited)
    path = write(
        tmp_path / "a.mkv",
        frames,
        codec=codec,
        pixel_format=pixel_format,
        colours=(matrix, 1 if limited else 2, 1, 1),
        **({"qp": "0"} if codec == "libx264" else {}),
    )
    np.testing.assert_allclose(read_video(path)[0][0].astype(int), picture, atol=3)


@pytest.mark.parametrize(
    "height,width,matrix",
    [(720, 1280, 1), (1280, 720, 1), (854, 480, 5), (576, 1024, 5)],
)
def test_what_says_nothing_is_taken_as_players_take_it(tmp_path, height, width, matrix):
    picture = _picture(height, width)
    frames, pixel_format = _frames(picture / 255, matrix, True, count=1)
    path = write(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format=pixel_format)
    shown = _first(path)
    np.testing.assert_allclose(shown[:: height // 8, :: width // 8], picture[:: height // 8, :: width // 8], atol=3)


def _perceptual(light):
    """PQ of candela per square metre."""
    part = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * part) / (1 + 18.6875 * part)) ** 78.84375


def _hybrid(light):
    """HLG for a screen of 1,000 candela per square metre."""
    shown = light / 1000
    luminance = (shown @ [0.2627, 0.6780, 0.0593])[..., None]
    scene = shown * luminance ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


@pytest.mark.parametrize("transfer,curve", [(16, _perceptual), (18, _hybrid)])
def test_hdr_looks_like_its_sdr_original(tmp_path, transfer, curve):
    picture = _picture()
    light = (picture / 255.0) ** 2.4 @ _WIDER.T * _PAPER
    frames, pixel_format = _frames(curve(light), 9, True, bits=10)
    path = write(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format=pixel_format, colours=(9, 1, transfer, 9))
    with open_video(path) as video:
        picture_of_file = next(video.pictures)
        shown, small = picture_of_file.pixels().astype(int), picture_of_file.small(8)
    difference = np.abs(shown - picture)
    assert difference.mean() <= 4 and difference.max() <= 12
    # Without conversion white is grey.
    assert shown[8, 8].min() > 250
    assert small.shape == (8, 8, 3)
    np.testing.assert_allclose(small[1, 1], shown[8, 8], atol=2)


def test_colours_that_cannot_be_converted_are_refused_by_name(tmp_path):
    frames, pixel_format = _frames(_picture() / 255, 5, True)
    for colours, message in [
        ((8, 1, 1, 1), r"its colours \(YCgCo, number 8 of H\.273\) cannot be converted"),
        ((14, 1, 16, 9), r"its colours \(ICtCp, number 14 of H\.273\)"),
        ((1, 1, 9, 1), r"its brightness curve \(number 9 of H\.273\)"),
    ]:
        path = write(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format=pixel_format, colours=colours)
        with pytest.raises(UserError, match=rf"cannot read the video .*a\.mkv: {message}"):
            read_video(path)
