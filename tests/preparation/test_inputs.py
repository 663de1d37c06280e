from pathlib import Path

import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.preparation import inputs, planning
from sr_jax.preparation.captions import Captions
from sr_jax.preparation.dataset import changed
from sr_jax.teachers.base import DepthTeacher
from tests.preparation import fakes


class _NeuralDepth(DepthTeacher):
    name, weight_hash = "neural", "n0"

    def __call__(self, frames, fps, path):
        raise AssertionError("the check must not run a network")


def _names(files):
    return [(file.split, file.name) for file in files if not file.problem]


def test_folders_become_splits_and_names(tmp_path):
    for name in ("train/b.mp4", "train/sub/a.MOV", "test/b.mp4", "train/.hidden.mp4", "train/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert _names(inputs.find_videos(tmp_path)) == [("train", "b"), ("train", "sub__a"), ("test", "b")]
    files = inputs.find_videos(tmp_path / "train")
    assert _names(files) == [("train", "b"), ("train", "sub__a")]
    (notes,) = (file for file in files if file.problem)
    assert (notes.path.name, notes.claims_video, notes.problem) == ("notes.md", False, f"{notes.path} is no video")


def test_arrays_called_after_a_video_belong_to_it(tmp_path):
    for name in ("a.mp4", "a.parts.npz", "a.b.mp4", "a.b.parts.npz", "c.parts.npz", "a.npz", "a.parts.mkv"):
        (tmp_path / name).touch()
    files = inputs.find_videos(tmp_path)
    assert _names(files) == [("train", "a"), ("train", "a.b"), ("train", "a.parts")]
    assert sorted(file.path.name for file in files if file.problem) == ["c.parts.npz"]


def test_nothing_beside_the_splits_is_silently_left_out(tmp_path):
    for name in ("train/a.mp4", "b.mp4", "valid/deep/c.mp4", "hidden/.d.mp4", ".e.mp4"):
        fakes.write_source(tmp_path / name)
    (tmp_path / "empty").mkdir()
    for name in ("notes.md", "captions.csv", "train.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "train")
    files = inputs.find_videos(tmp_path, frozenset({tmp_path / "captions.csv"}))
    assert _names(files) == [("train", "a")]
    beside = {file.path.relative_to(tmp_path).as_posix(): file for file in files if file.problem}
    assert {name: file.claims_video for name, file in beside.items()} == {
        "b.mp4": True,
        "link": True,
        "notes.md": False,
        "train.txt": False,
        "valid/deep/c.mp4": True,
    }
    assert beside["b.mp4"].problem == (
        f"{tmp_path / 'b.mp4'} lies beside train: move it into the folder train or test, or out of {tmp_path}"
    )
    (tmp_path / "test").mkdir()
    fakes.write_source(tmp_path / "test" / "f.mp4")
    with pytest.raises(UserError, match=r"b\.mp4 lies beside train and test: move it"):
        fakes.plan(tmp_path)
    assert [plan.clip_id for plan in fakes.plan(tmp_path, strict=False)] == ["a-00000", "f-00000"]
    # Without videos, such files stop nothing.
    for name in ("b.mp4", "b.depth.npz", "valid/deep/c.mp4", "valid/deep/c.depth.npz", "link"):
        (tmp_path / name).unlink()
    assert len(fakes.plan(tmp_path)) == 2


def test_videos_are_told_by_content(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    for name in ("no_suffix", "clip.dat", "clip.txt", "picture.jpg", "two\nlines.mp4", "caf\u00e9 1.mp4"):
        (tmp_path / name).write_bytes((tmp_path / "a.mp4").read_bytes())
    assert [name for _, name in _names(inputs.find_videos(tmp_path))] == [
        "a",
        "caf\u00e9 1",
        "clip",
        "no_suffix",
        "picture",
        r"two\x0alines",
    ]
    # `clip.txt` could be the caption of `clip.dat`, so it is taken for that.
    assert inputs.find_videos(tmp_path)[2].path.name == "clip.dat"


def test_names_that_no_file_system_takes_are_shortened(tmp_path):
    folder = tmp_path / ("x" * 150)
    folder.mkdir()
    for number in range(2):
        (folder / f"{'y' * 150}{number}.mp4").touch()
    names = [name for _, name in _names(inputs.find_videos(tmp_path))]
    assert len(set(names)) == 2
    assert all(len(name) < 200 and name.startswith("x" * 150 + "__y") for name in names)


def test_links_in_circles_and_to_nowhere_are_named(tmp_path):
    fakes.write_source(tmp_path / "videos" / "a.mp4")
    (tmp_path / "videos" / "again").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (tmp_path / "videos" / "self.mp4").symlink_to("self.mp4")
    elsewhere = tmp_path / "elsewhere"
    fakes.write_source(elsewhere / "b.mp4")
    (tmp_path / "videos" / "linked").symlink_to(elsewhere)
    files = inputs.find_videos(tmp_path / "videos")
    assert _names(files) == [("train", "a"), ("train", "linked__b")]
    assert [(file.name, file.problem.split(" is a ")[-1]) for file in files if file.problem] == [
        ("again", "link to a folder that was searched already"),
        ("gone", "link that leads to no file"),
        ("self", "link that leads to no file"),
    ]


def test_plan_reads_captions_labels_and_clips(tmp_path):
    plans = fakes.plan(fakes.write_input(tmp_path))
    assert [(plan.source.split, plan.clip_id) for plan in plans][:4] == [
        ("train", "v0-00000"),
        ("train", "v1-00000"),
        ("train", "v2-00000"),
        ("train", "v2-00005"),
    ]
    assert len(plans) == 10
    assert plans[3].indices.tolist() == [5, 6, 7, 8, 9]
    assert plans[3].source.prompt == "a person"
    assert plans[3].source.labels == {"identity": 2}
    assert plans[-1].source.split == "test"


def test_a_byte_order_mark_is_no_part_of_caption_and_labels(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", prompt="a caf\u00e9", seed=3)
    for suffix in (".txt", ".json"):
        path = (tmp_path / "a.mp4").with_suffix(suffix)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (plan,) = fakes.plan(tmp_path)
    assert (plan.source.prompt, plan.source.labels) == ("a caf\u00e9", {"identity": 3})


def test_digest_follows_video_depth_labels_and_caption(tmp_path):
    path = tmp_path / "a.mp4"

    def digest():
        (file,) = inputs.find_videos(tmp_path)
        return inputs.digest(file, inputs.read_source(file, Captions(), "").prompt)

    fakes.write_source(path)
    digests = [digest()]
    path.with_suffix(".txt").write_text("someone else")
    digests.append(digest())
    np.savez(path.with_suffix(".depth.npz"), depth=np.ones((5, 16, 12)))
    digests.append(digest())
    path.with_suffix(".json").write_text("{}")
    digests.append(digest())
    path.write_bytes(path.read_bytes() + b"\0")
    digests.append(digest())
    assert len(set(digests)) == 5
    assert digest() == digests[-1]


def test_default_caption(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    (tmp_path / "a.txt").unlink()
    assert fakes.plan(tmp_path, default_prompt="somebody")[0].source.prompt == "somebody"
    with pytest.raises(UserError, match=r"no caption for .*a\.mp4"):
        fakes.plan(tmp_path)


def test_missing_input(tmp_path):
    with pytest.raises(UserError, match="no input folder"):
        inputs.find_videos(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no video in"):
        inputs.find_videos(tmp_path)
    fakes.write_source(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").unlink()
    (tmp_path / "b.mp4").touch()
    with pytest.raises(UserError, match=r"a\.depth\.npz has no video beside it"):
        fakes.plan(tmp_path)


def test_split_without_videos(tmp_path):
    fakes.write_source(tmp_path / "train" / "a.mp4")
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=r"no video in .*test"):
        fakes.plan(tmp_path)


def test_unreadable_video(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    fakes.write_source(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").write_bytes((tmp_path / "b.mp4").read_bytes()[:300])
    with pytest.raises(UserError, match=r"cannot read the video .*b\.mp4"):
        fakes.plan(tmp_path)


@pytest.mark.parametrize("frames,fps", [(4, 8.0), (16, 32.0)])
def test_video_shorter_than_a_clip(tmp_path, frames, fps):
    fakes.write_source(tmp_path / "a.mp4", frames=frames, fps=fps)
    with pytest.raises(
        UserError, match=rf"a\.mp4 is too short: {frames} frames at {fps:g} .* one clip is 5 frames at 8"
    ):
        fakes.plan(tmp_path)


def test_depth_of_another_length_or_missing(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", depth_frames=6)
    with pytest.raises(UserError, match=r"a\.depth\.npz has depth for 6 frames, but a\.mp4 has 5 frames"):
        fakes.plan(tmp_path)
    (tmp_path / "a.depth.npz").unlink()
    with pytest.raises(UserError, match="no depth file"):
        fakes.plan(tmp_path)
    assert len(fakes.plan(tmp_path, teachers=fakes.depth(_NeuralDepth()))) == 1


def test_a_caption_that_may_not_be_read(tmp_path, monkeypatch):
    for name in ("a", "b"):
        fakes.write_source(tmp_path / f"{name}.mp4")
    files, planner = inputs.find_videos(tmp_path), fakes.planner(tmp_path)
    outcomes = [planner(file).outcome for file in files]
    assert changed(planner, files, outcomes) == []
    read_bytes = Path.read_bytes

    def refuse(path):
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: Permission denied"):
        fakes.plan(tmp_path)
    assert [plan.clip_id for plan in fakes.plan(tmp_path, strict=False)] == ["b-00000"]
    # The same input once more.
    assert changed(planner, files, outcomes) == ["train/a: its video, depth, labels or caption changed"]

    def refuse_digest(path, size):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.undo()
    monkeypatch.setattr(inputs, "_add_file", refuse_digest)
    assert len(changed(planner, files, outcomes)) == 2


def test_errors_that_nobody_thought_of(tmp_path, monkeypatch):
    for name in ("a", "b"):
        fakes.write_source(tmp_path / f"{name}.mp4")
    errors = {"a": ValueError("odd: one")}

    def read(file, *args):
        if file.name in errors:
            raise errors[file.name]
        return read_source(file, *args)

    read_source = planning.read_source
    monkeypatch.setattr(planning, "read_source", read)
    with pytest.raises(ValueError, match="odd: one"):
        fakes.plan(tmp_path)
    plans = list(map(fakes.planner(tmp_path, strict=False), inputs.find_videos(tmp_path)))
    assert plans[0].outcome.rejected == f"ValueError while reading {tmp_path / 'a.mp4'}: odd: one"
    assert plans[1].outcome.clips == 1
    errors["a"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        fakes.plan(tmp_path, strict=False)


def test_same_name_twice(tmp_path):
    fakes.write_source(tmp_path / "a.mov")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=r"a\.mov and .*a\.mp4 have the same name"):
        fakes.plan(tmp_path)
    assert {plan.source.path.name for plan in fakes.plan(tmp_path, strict=False)} == {"a.mov"}


def test_malformed_labels_and_captions(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(UserError, match="must hold a JSON object"):
        fakes.plan(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json is not JSON"):
        fakes.plan(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8"):
        fakes.plan(tmp_path)
