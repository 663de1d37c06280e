import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.conversion.dinov2 import read_release
from sr_jax.errors import UserError
from sr_jax.teachers.base import file_hash
from sr_jax.teachers.registry import load_feature_teacher
from sr_jax.teachers.tokens import dinov2
from sr_jax.teachers.tokens.dinov2 import DINOv2Encoder, input_size_for, prepare
from tests.comparison import relative_error
from tests.models.tiny_dinov2 import OPTIONS, write_folder


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    path = tmp_path_factory.mktemp("dinov2")
    write_folder(path, *original("dinov2").released(OPTIONS))
    return path


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(("shape", "size"), [((60, 90), (28, 42)), ((20, 12), (70, 42)), ((28, 28), (28, 28))])
def test_frames_are_prepared_as_the_released_processor_does(original, shape, size):
    frame = noise(*shape, 3)
    np.testing.assert_allclose(prepare(frame, size), original("dinov2").prepared(frame, size), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "input_size", "expected"),
    [
        ((480, 720), 224, (224, 336)),
        ((480, 720), 518, (518, 784)),
        ((720, 480), 224, (336, 224)),
        ((64, 48), 224, (294, 224)),
        ((592, 592), 28, (28, 28)),
    ],
)
def test_the_whole_frame_is_seen_with_its_aspect(size, input_size, expected):
    assert input_size_for(size, input_size, 14) == expected


def test_its_tokens_are_those_of_transformers(original, folder):
    images = noise(1, 30, 61, 3)
    size = (42, 84)
    prepared = np.stack([original("dinov2").prepared(image, size) for image in images])
    expected = original("dinov2").features_of_folder(OPTIONS, prepared, (1, 4))
    for block, theirs in ((2, expected[0]), (0, expected[1])):
        tokens = DINOv2Encoder.load(str(folder), input_size=42, block=block)(images)
        assert tokens.shape == (1, 3, 6, 24) and tokens.dtype == np.float32
        # Only the rounding of both preparations differs.
        assert relative_error(np.reshape(tokens, theirs.shape), theirs) < 2e-5


def test_a_section_makes_the_teacher(folder):
    section = {"name": "dinov2", "path": str(folder), "input_size": 28, "block": 3, "frames": "mean", "batch_size": 2}
    teacher = load_feature_teacher("dino", section)
    assert teacher.fields == {"dino_tokens": "t dino_y dino_x dino_d"}
    digest = file_hash(folder / "model.safetensors")
    entry = {"name": "dinov2_24x5_14", "weight_hash": digest, "input_size": "28", "block": "3", "frames": "mean"}
    assert teacher.provenance("dino") == {"dino": entry}


def test_released_sizes_have_their_names(folder):
    config, _, _ = read_release(folder)
    for width, name in ((384, "vits14"), (768, "vitb14"), (1024, "vitl14"), (1536, "vitg14")):
        sizes = dataclasses.replace(config, hidden_size=width)
        assert DINOv2Encoder(sizes, {}, weight_hash="w0").name == f"dinov2_{name}"


def test_half_precision_is_near(folder):
    images = noise(1, 28, 28, 3)
    full, half = (
        DINOv2Encoder.load(str(folder), input_size=28, dtype=dtype)(images) for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == jnp.float32 and 1e-4 < relative_error(half, full) < 0.1


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"path": ""}, r"features\.dino\.path is empty: name a folder or file of DINOv2, or facebook/dinov2-base"),
        ({"input_size": 30}, "input_size is 30: use a multiple of 14"),
        ({"block": 6}, "block is 6: use 1 to 5, or 0 for the last"),
        ({"path": "not there"}, "no folder not there, nor is it a hub name"),
        ({"path": "gone.pth"}, r"no weights at gone\.pth"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(folder, entries, message):
    with pytest.raises(UserError, match=message) as error:
        load_feature_teacher("dino", {"name": "dinov2", "path": str(folder)} | entries)
    assert "\n" not in str(error.value)


def test_a_name_is_looked_up_on_the_hub(folder, monkeypatch):
    calls = []

    def download(name, *, revision, allow_patterns):
        calls.append((name, revision, allow_patterns))
        if name == "nobody/nothing":
            raise ConnectionError("no\nroute to host")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    section = {"name": "dinov2", "path": "facebook/dinov2-tiny", "revision": "0123abc", "input_size": 28}
    assert load_feature_teacher("dino", section).name == "dinov2_24x5_14"
    assert calls == [("facebook/dinov2-tiny", "0123abc", ["config.json", "model.safetensors"])]
    with pytest.raises(UserError, match=r"nobody/nothing is no folder here.*ConnectionError: no route to host"):
        load_feature_teacher("dino", section | {"path": "nobody/nothing"})
    assert dinov2.FILES == ("config.json", "model.safetensors")
