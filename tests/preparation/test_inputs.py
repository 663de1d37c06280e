import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.preparation import inputs
from tests.preparation import fakes


class _NeuralDepth:
    name, weight_hash = "neural", "n0"

    def __call__(self, frames, fps, path):
        raise AssertionError("the check must not run a network")


def test_folders_become_splits_and_names(tmp_path):
    for name in ("train/b.mp4", "train/sub/a.MOV", "test/b.mp4", "train/.hidden.mp4", "train/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [(split, name) for split, _, name in inputs.find_videos(tmp_path)] == [
        ("train", "b"),
        ("train", "sub__a"),
        ("test", "b"),
    ]
    assert [(split, name) for split, _, name in inputs.find_videos(tmp_path / "train")] == [
        ("train", "b"),
        ("train", "sub__a"),
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


def test_digest_follows_video_depth_and_caption(tmp_path):
    path = tmp_path / "a.mp4"

    def digest():
        return inputs.read_source("train", path, "a", default_prompt="").digest

    fakes.write_source(path)
    digests = [digest()]
    path.with_suffix(".txt").write_text("someone else")
    digests.append(digest())
    np.savez(path.with_suffix(".depth.npz"), depth=np.ones((5, 16, 12)))
    digests.append(digest())
    path.write_bytes(path.read_bytes() + b"\0")
    digests.append(digest())
    assert len(set(digests)) == 4


def test_default_caption(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    (tmp_path / "a.txt").unlink()
    assert fakes.plan(tmp_path, default_prompt="somebody")[0].source.prompt == "somebody"
    with pytest.raises(UserError, match=r"no caption for .*a\.mp4"):
        fakes.plan(tmp_path)


def test_missing_input(tmp_path):
    with pytest.raises(UserError, match="no input folder"):
        fakes.plan(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no video in"):
        fakes.plan(tmp_path)
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
    assert len(fakes.plan(tmp_path, depth=_NeuralDepth())) == 1


def test_same_name_twice(tmp_path):
    for suffix in (".mp4", ".mov"):
        (tmp_path / f"a{suffix}").touch()
    with pytest.raises(UserError, match="have the same name"):
        fakes.plan(tmp_path)


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
