import json

import numpy as np
import pytest

from sr_jax.demo.labelled_clips import read_labelled_clips
from sr_jax.errors import UserError
from tests.demo.toy_people import toy_clips, write_toy_clips


@pytest.fixture
def folder(tmp_path):
    write_toy_clips(tmp_path / "train", toy_clips("train", 4))
    return tmp_path / "train"


def test_reads_what_was_written(folder):
    written, read = toy_clips("train", 4), read_labelled_clips(folder)
    assert list(read.names) == written.names
    assert list(read.identities) == ["train-0", "train-0", "train-1", "train-1"]
    assert read.fps == 8
    np.testing.assert_array_equal(read.frames, written.frames)
    np.testing.assert_allclose(read.face_boxes, written.face_boxes, rtol=1e-6)
    np.testing.assert_array_equal(read.face_visible, written.face_visible)


def edit(folder, **changes):
    path = folder / "001.json"
    labels = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in labels.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": None}, "needs identity, face_boxes and face_visible"),
        ({"face_boxes": "no"}, "needs identity"),
        ({"face_visible": [True]}, "001.mp4 has 5"),
        ({"face_boxes": [[0, 0, 1, 1]] * 6}, "labels 6 frames, but 001.mp4 has 5"),
    ],
)
def test_bad_labels_are_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(UserError, match=message):
        read_labelled_clips(folder)


def test_missing_files_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"no \.mp4 files"):
        read_labelled_clips(tmp_path / "test")
    (folder / "002.json").unlink()
    with pytest.raises(UserError, match=r"002\.json must lie beside it"):
        read_labelled_clips(folder)


def test_clips_of_other_lengths_are_refused(folder):
    short = toy_clips("train", 1)
    short = short._replace(names=["003"], frames=short.frames[:, :3])
    (folder / "003.mp4").unlink()
    for leftover in folder.glob("003.*"):
        leftover.unlink()
    write_toy_clips(folder / "other", short)
    (folder / "other" / "003.mp4").rename(folder / "003.mp4")
    with pytest.raises(UserError, match=r"003\.mp4 has 3 frames of 32x24, but 000\.mp4 has 5 frames"):
        read_labelled_clips(folder)
