from pathlib import Path

import cv2
import huggingface_hub
import jax
import numpy as np
import pytest
import torch
from torch.nn import functional

from sr_jax.errors import UserError
from sr_jax.teachers import registry
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth import video_depth_anything as video_depth
from sr_jax.teachers.depth.video_depth_anything import RELEASES, VideoDepthAnythingTeacher, input_size_for, prepare
from sr_jax.teachers.depth.windows import scale_and_shift
from sr_jax.teachers.depth.windows import video_depth as in_windows
from tests.models.video_depth_twin import NETWORK, TINY, our_params, random_state_dict, relative_error

KEYFRAMES = [0, 12, 24, 25, 26, 27, 28, 29, 30, 31]


def reference(frames, prepare, estimate):
    """The published inference, step by step: all windows first, then one window after the other is aligned."""
    count = len(frames)
    padded = [*frames, *[frames[-1]] * 60]
    outputs, before = [], None
    for start in range(0, count, 22):
        inputs = [prepare(frame) for frame in padded[start : start + 32]]
        if before is not None:
            for place, key in enumerate(KEYFRAMES):
                inputs[place] = before[key]
        outputs.append(estimate(np.stack(inputs)))
        before = inputs
    result = list(outputs[0])
    references = [outputs[0][0], outputs[0][12]]
    for output in outputs[1:]:
        left = np.stack([np.concatenate([output[0].ravel(), output[1].ravel()]), np.ones(2 * output[0].size)], axis=1)
        right = np.concatenate([references[0].ravel(), references[1].ravel()])
        scale, shift = np.linalg.lstsq(left, right, rcond=None)[0]
        aligned = [np.where(frame * scale + shift < 0, 0, frame * scale + shift) for frame in output]
        for number in range(8):
            weight = number / 7
            result[-8 + number] = (1 - weight) * result[-8 + number] + weight * aligned[2 + number]
        result += aligned[10:]
        references = [references[0], aligned[12]]
    return np.stack(result[:count])


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
    got, expected = in_windows(frames, unit, ours), reference(frames, unit, theirs)
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
    expected = cv2.resize(frame.astype(np.float32) / 255, (28, 14), interpolation=cv2.INTER_CUBIC)
    expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(prepare(frame, (14, 28)), expected, atol=1e-5)


@pytest.fixture(scope="module")
def tensors():
    return random_state_dict()


def test_the_teacher_gives_depth_of_the_size_of_the_frames(tensors):
    params = our_params(tensors)
    teacher = VideoDepthAnythingTeacher(TINY, params, name="tiny", weight_hash="random", input_size=14)
    assert isinstance(teacher, DepthTeacher)
    frames = numbers(35, (20, 31))
    got = teacher(frames, 8.0, Path("none.mp4"))
    apply = jax.jit(NETWORK.apply)

    def estimate(inputs):
        depth = torch.from_numpy(np.array(apply(params, inputs[None])[0]))[:, None]
        return functional.interpolate(depth, (20, 31), mode="bilinear", align_corners=True)[:, 0].numpy()

    expected = reference(frames, lambda frame: prepare(frame, (14, 28)), estimate)
    assert got.shape == (35, 20, 31)
    assert relative_error(got, expected) < 1e-4
    assert got.std() > 1e-3


def test_the_registry_loads_a_file_of_the_named_size(tensors, tmp_path, monkeypatch):
    monkeypatch.setattr(video_depth, "RELEASED", {"small": TINY})
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    teacher = registry.load_depth_teacher(
        {"name": "video_depth_anything", "size": "small", "path": str(path), "input_size": 14}
    )
    assert teacher.name == "video_depth_anything_small_14"
    # By its name on the hub, where no path is given.
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: asked.append(names) or str(path))
    again = registry.load_depth_teacher({"name": "video_depth_anything", "size": "small", "path": ""})
    assert asked == [("depth-anything/Video-Depth-Anything-Small", "video_depth_anything_vits.pth")]
    assert again.weight_hash == teacher.weight_hash
    assert again.name == "video_depth_anything_small_518"


def test_releases_have_their_published_names():
    assert {size: (release.repository, release.file) for size, release in RELEASES.items()} == {
        "small": ("depth-anything/Video-Depth-Anything-Small", "video_depth_anything_vits.pth"),
        "base": ("depth-anything/Video-Depth-Anything-Base", "video_depth_anything_vitb.pth"),
        "large": ("depth-anything/Video-Depth-Anything-Large", "video_depth_anything_vitl.pth"),
    }


def test_bad_settings_are_told(tensors, tmp_path, monkeypatch):
    section = {"name": "video_depth_anything", "path": str(tmp_path / "weights.pth")}
    with pytest.raises(UserError, match="no Video Depth Anything of size 'giant': choose one of small, base, large"):
        registry.load_depth_teacher(section | {"size": "giant"})
    torch.save(tensors, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth is not Video Depth Anything of size base: .*missing"):
        registry.load_depth_teacher(section | {"size": "base"})
    with pytest.raises(UserError, match="input_size is 30: use a multiple of 14"):
        VideoDepthAnythingTeacher(TINY, {}, name="tiny", weight_hash="", input_size=30)

    def offline(*names):
        raise OSError("no\nroute")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded \(OSError: no route\): check the network"):
        registry.load_depth_teacher({"name": "video_depth_anything", "size": "large", "path": ""})
