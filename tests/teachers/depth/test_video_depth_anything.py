import dataclasses
import hashlib
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from sr_jax.conversion import hub
from sr_jax.errors import UserError
from sr_jax.teachers import registry
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth import video_depth_anything as video_depth
from sr_jax.teachers.depth.video_depth_anything import RELEASES, VideoDepthAnythingTeacher, input_size_for, prepare
from sr_jax.teachers.depth.windows import scale_and_shift
from sr_jax.teachers.depth.windows import video_depth as in_windows
from tests.comparison import relative_error
from tests.models.tiny_video_depth import SIZES, TINY, our_params, save, weights
from tests.teachers.published_windows import joined_windows, prepared


def numbers(count, size=(3, 4)):
    """Frames whose content depends on their place, so that none can stand for another."""
    return np.random.default_rng(count).integers(0, 255, (count, *size, 3)).astype(np.uint8)


class Drifting:
    """An estimate that depends on every frame of its window and drifts in scale and shift from window to window.

    After the first window, what is far comes out below 0 when it is aligned.
    """

    def __init__(self):
        self.calls = []

    def __call__(self, inputs):
        self.calls.append(inputs)
        rng = np.random.default_rng(len(self.calls))
        scale, shift = rng.uniform(0.3, 3), rng.uniform(-0.4, 0.2)
        own = inputs.mean(axis=-1) + 0.1 * inputs.mean() + 0.02 * rng.standard_normal(inputs.shape[:3])
        return (scale * own + shift if len(self.calls) > 1 else np.maximum(own - 0.5, 0)).astype(np.float32)


def unit(frame):
    return frame.astype(np.float32) / 255


@pytest.mark.parametrize("count", [1, 7, 22, 23, 32, 33, 44, 45, 54, 100])
def test_windows_are_joined_as_published(count):
    frames = numbers(count)
    ours, theirs = Drifting(), Drifting()
    got, expected = in_windows(frames, unit, ours), joined_windows(frames, unit, theirs)
    assert len(ours.calls) == len(theirs.calls) == -(-count // 22)
    np.testing.assert_array_equal(ours.calls, theirs.calls)
    assert got.dtype == np.float32
    assert relative_error(got, expected) < 1e-5
    if count > 32:
        assert (expected == 0).any()


def test_one_scale_and_shift_for_the_whole_video():
    frames = numbers(90)
    calls = []

    def drifting(inputs):
        calls.append(inputs)
        return (inputs.mean(axis=-1) * 1.5 ** len(calls) + 0.1 * len(calls)).astype(np.float32)

    got = in_windows(frames, unit, drifting)
    np.testing.assert_allclose(got, unit(frames).mean(axis=-1) * 1.5 + 0.1, atol=1e-5)


def test_scale_and_shift_of_constant_values():
    values = np.full((2, 3, 4), 0.3, np.float32)
    assert scale_and_shift(values, np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("size", "input_size", "expected"),
    [
        # The shorter side is 518, the longer one 518 * 16 / 9 = 920.9, which is nearest to 66 * 14.
        ((1080, 1920), 518, (518, 924)),
        ((1920, 1080), 518, (924, 518)),
        ((300, 300), 518, (518, 518)),
        ((480, 640), 518, (518, 686)),
        # 518 * 1.777 / 2.4 = 383.5 becomes 27 * 14; the longer side 378 * 2.4 = 907.2 becomes 65 * 14.
        ((400, 960), 518, (378, 910)),
        ((144, 176), 70, (70, 84)),
    ],
)
def test_size_of_the_network_input(size, input_size, expected):
    assert input_size_for(size, input_size, 14) == expected


def test_a_frame_is_normalised_after_resizing():
    frame = numbers(1, (6, 8))[0]
    np.testing.assert_allclose(prepare(frame, (14, 28)), prepared(frame, (14, 28)), atol=1e-5)


@pytest.fixture(scope="module")
def tensors():
    return weights(SIZES, 0)


def test_the_teacher_gives_depth_of_the_size_of_the_frames(original, tensors):
    params = our_params(tensors)
    # With fewer patches a group of the temporal modules' norms has two values: it shows rounding, and little else.
    teacher = VideoDepthAnythingTeacher(TINY, params, name="tiny", weight_hash="random", input_size=42)
    assert isinstance(teacher, DepthTeacher)
    frames = numbers(35, (20, 31))
    got = teacher(frames, 8.0, Path("none.mp4"))
    expected = original("video_depth").depth_of_a_video(SIZES, 0, frames, (42, 70))
    assert got.shape == (35, 20, 31)
    assert relative_error(got, expected) < 1e-5
    assert got.std() > 1e-3


@pytest.mark.parametrize("file", ["weights.safetensors", pytest.param("weights.pth", marks=pytest.mark.needs_torch)])
def test_the_registry_loads_a_file_of_the_named_size(tensors, tmp_path, monkeypatch, file):
    monkeypatch.setattr(video_depth, "RELEASED", {"small": TINY})
    path = save(tensors, tmp_path / file)
    teacher = registry.load_depth_teacher(
        {"name": "video_depth_anything", "size": "small", "path": str(path), "input_size": 14}
    )
    assert teacher.name == "video_depth_anything_small_14"
    # By its name on the hub, where no path is given: one commit of it, whose hash is known.
    asked, names = [], ("depth-anything/Video-Depth-Anything-Small", "video_depth_anything_vits.pth")

    def download(*names, revision):
        asked.append((names, revision))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=r"has the SHA-256 .*, not 13379300b739"):
        registry.load_depth_teacher({"name": "video_depth_anything", "size": "small", "path": ""})
    pin = dataclasses.replace(hub.PINNED[names], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(hub.PINNED, names, pin)
    again = registry.load_depth_teacher({"name": "video_depth_anything", "size": "small", "path": ""})
    assert asked == [(names, "256875362cff76724b920335dfb4b29dd611f66e")] * 2
    assert again.weight_hash == teacher.weight_hash
    assert again.name == "video_depth_anything_small_518"


def test_releases_have_their_published_names():
    assert {size: (release.repository, release.file) for size, release in RELEASES.items()} == {
        "small": ("depth-anything/Video-Depth-Anything-Small", "video_depth_anything_vits.pth"),
        "base": ("depth-anything/Video-Depth-Anything-Base", "video_depth_anything_vitb.pth"),
        "large": ("depth-anything/Video-Depth-Anything-Large", "video_depth_anything_vitl.pth"),
    }


def test_every_release_is_pinned():
    assert {(release.repository, release.file) for release in RELEASES.values()} == hub.PINNED.keys()
    assert all((len(pin.commit), len(pin.sha256)) == (40, 64) for pin in hub.PINNED.values())


def test_bad_settings_are_told(tensors, tmp_path, monkeypatch):
    section = {"name": "video_depth_anything", "path": str(tmp_path / "weights.safetensors")}
    with pytest.raises(UserError, match="no Video Depth Anything of size 'giant': choose one of small, base, large"):
        registry.load_depth_teacher(section | {"size": "giant"})
    save(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"weights\.safetensors is not Video Depth Anything of size base: .*missing"):
        registry.load_depth_teacher(section | {"size": "base"})
    with pytest.raises(UserError, match="input_size is 30: use a multiple of 14"):
        VideoDepthAnythingTeacher(TINY, {}, name="tiny", weight_hash="", input_size=30)

    metric = section | {"size": "small", "path": str(tmp_path / "metric_video_depth_anything_vits.pth")}
    with pytest.raises(UserError, match=r"of a metric model, .* not disparity: use video_depth_anything_vits\.pth"):
        registry.load_depth_teacher(metric)

    def offline(*names, revision):
        raise OSError("no\nroute")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded \(OSError: no route\): check the network"):
        registry.load_depth_teacher({"name": "video_depth_anything", "size": "large", "path": ""})
