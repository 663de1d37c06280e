"""Folders of numbered pictures, read as videos."""

import numpy as np
import pytest
from PIL import Image

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video, scan_video
from sr_jax.media.frame_folders import is_frame_folder
from tests.media.files import smooth


def _write(folder, frames, first=7):
    folder.mkdir(parents=True)
    # Numbered without zeros before them: by name alone, 10 comes before 7.
    for number, pixels in enumerate(frames, first):
        Image.fromarray(pixels).save(folder / f"take2_{number}.png")
    return folder


def test_a_folder_of_frames_is_a_video(tmp_path):
    frames = smooth(6)
    folder = _write(tmp_path / "a", frames)
    (folder / ".hidden").touch()
    assert is_frame_folder(folder)
    info = scan_video(folder, frames_fps=12.0)
    assert (info.num_frames, info.fps, info.height, info.width) == (6, 12.0, 32, 48)
    np.testing.assert_allclose(info.times, np.arange(6) / 12)
    assert np.flatnonzero(~info.follows).tolist() == [0]
    with open_video(folder, 12.0) as video:
        pictures = list(video.pictures)
    np.testing.assert_array_equal([picture.pixels() for picture in pictures], frames)
    small = frames[3].reshape(8, 4, 12, 4, 3).mean((1, 3))
    np.testing.assert_allclose(pictures[3].small(8), small, atol=0.51)
    np.testing.assert_array_equal(pictures[3].grey(), frames[3][..., 1].astype(np.uint16) * 257)
    # Without a rate it is none.
    with pytest.raises(UserError, match="no video file"):
        scan_video(folder)


def test_frames_of_another_size_are_a_new_shot(tmp_path):
    folder = _write(tmp_path / "a", smooth(4))
    Image.fromarray(smooth(1, 48, 32)[0]).save(folder / "take2_9.png")
    info = scan_video(folder, frames_fps=12.0)
    assert info.follows.tolist() == [False, True, False, False]
    assert info.sizes.tolist() == [[32, 48], [32, 48], [48, 32], [32, 48]]


def test_folders_that_are_no_video_without_gaps(tmp_path):
    (_write(tmp_path / "gap", smooth(5)) / "take2_9.png").unlink()
    (_write(tmp_path / "named", smooth(2)) / "cover.png").write_bytes((tmp_path / "named" / "take2_7.png").read_bytes())
    (_write(tmp_path / "twice", smooth(2)) / "7.png").write_bytes((tmp_path / "twice" / "take2_7.png").read_bytes())
    (_write(tmp_path / "damaged", smooth(3)) / "take2_8.png").write_bytes(b"no picture")
    for name, message in {
        "gap": "is a folder of frames 7 to 11, but frame 9 is missing",
        "named": r"is a folder of frames, but cover\.png has no number",
        "twice": r"has two frames of one number, 7\.png and take2_7\.png",
        "damaged": r"take2_8\.png is not an image that can be read",
    }.items():
        with pytest.raises(UserError, match=message):
            scan_video(tmp_path / name, frames_fps=12.0)
    (_write(tmp_path / "mixed", smooth(2)) / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    assert not is_frame_folder(tmp_path / "mixed") and not is_frame_folder(tmp_path / "empty")
