import json

import numpy as np
import pytest

from sr_jax import command_line
from sr_jax.configs.prepare import get_config
from sr_jax.demo.people import __main__ as people
from sr_jax.demo.people.clips import sample_clip
from sr_jax.errors import UserError
from sr_jax.media.video import read_video

_SUFFIXES = (".depth.npz", ".parts.npz", ".json", ".mp4", ".txt")


def _render(folder, *extra):
    args = [f"--output={folder}", "--split=test", "--clips=3", "--height=32", "--width=24", "--frames=5", *extra]
    people.FLAGS.unparse_flags()
    command_line.parse(people.FLAGS, ["people", *args])
    people.main(people.FLAGS)
    return folder / "test"


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_clip_is_rendered_as_it_is_prepared():
    flags, clip = people.FLAGS, get_config("people").clip
    names = {"height": "height", "width": "width", "frames": "num_frames", "fps": "fps"}
    assert {name: flags[name].default for name in names} == {name: clip[key] for name, key in names.items()}


def test_clips_are_written_with_everything_beside_them(tmp_path):
    folder = _render(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{index:06d}{suffix}" for index in range(3) for suffix in _SUFFIXES
    )
    clip = sample_clip(1, "test", size=(32, 24), num_frames=5, fps=24.0)
    frames, fps = read_video(folder / "000001.mp4")
    np.testing.assert_array_equal(frames, clip.frames)
    assert fps == 24.0
    np.testing.assert_array_equal(np.load(folder / "000001.depth.npz")["depth"], clip.depth)
    np.testing.assert_array_equal(np.load(folder / "000001.parts.npz")["parts"], clip.parts)
    assert (folder / "000001.txt").read_text() == clip.caption + "\n"
    labels = json.loads((folder / "000001.json").read_text())
    assert labels["identity"] == clip.identity and labels["held_out_motion"] is True
    np.testing.assert_allclose(labels["face_boxes"], clip.face_boxes, atol=0.006)
    assert labels["face_visible"] == clip.face_visible.tolist()


def test_near_and_violent_clips(tmp_path):
    folder = _render(tmp_path, "--framing=hips_up", "--motions=violent")
    for index in range(3):
        labels = json.loads((folder / f"{index:06d}.json").read_text())
        assert labels["framing"] == "hips up" and labels["violent"]
    with pytest.raises(UserError, match="was made with framing hips_up, not mixed"):
        _render(tmp_path)


def test_an_interrupted_run_is_finished_with_the_same_files(tmp_path):
    folder = _render(tmp_path)
    before = _contents(folder)
    kept = (folder / "000000.mp4").stat().st_mtime_ns
    (folder / "000001.mp4").unlink()
    for suffix in _SUFFIXES:
        (folder / f"000002{suffix}").unlink()
    (folder / ".000002.json.tmp").write_bytes(b"half")
    assert _contents(_render(tmp_path)) == before
    assert (folder / "000000.mp4").stat().st_mtime_ns == kept


def test_other_settings_are_refused_before_anything_is_written(tmp_path):
    folder = _render(tmp_path)
    before = _contents(folder)
    with pytest.raises(UserError, match="made with seed 0, not 1"):
        _render(tmp_path, "--seed=1", "--clips=5")
    assert _contents(folder) == before


def test_another_seed_is_another_set(tmp_path):
    one, other = _render(tmp_path / "a"), _render(tmp_path / "b", "--seed=1")
    assert (one / "000000.mp4").read_bytes() != (other / "000000.mp4").read_bytes()


@pytest.mark.parametrize("flag", ["--clips=0", "--split=val", "--height=many", "--colour=red"])
def test_bad_flags_are_refused(tmp_path, flag):
    with pytest.raises(UserError):
        _render(tmp_path, flag)
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        _render(tmp_path / "file")
