"""NaN in weights or latents is an error of one line, and no black video."""

import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.generation.finite import require_finite_latents, require_finite_video
from sr_jax.generation.generator import generate_one, generate_split
from tests.evaluation.conftest import data, make_generator
from tests.evaluation.fakes import HEIGHT, WIDTH, PatchCodec

__all__ = ("data",)

IMAGE = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


@pytest.mark.parametrize("strength", [np.nan, np.inf])
def test_weights_that_are_no_numbers_make_no_clip(data, tmp_path, strength):
    broken = make_generator(strength=strength)
    with pytest.raises(UserError, match="the latents of this clip hold values that are no finite numbers: weights or"):
        generate_one(broken, IMAGE, "a wall", tmp_path / "clip.mp4")
    with pytest.raises(UserError, match=r"the latents of held_out00\d hold values that are no finite numbers") as error:
        generate_split(broken, data, "test", tmp_path / "out", limit=2)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["sampling.json"]


def test_a_codec_that_gives_no_numbers_makes_no_clip(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        PatchCodec, "decode_to_host", lambda self, latents: np.full((1, 5, 8, 8, 3), np.nan, np.float32)
    )
    working = make_generator()
    with pytest.raises(
        UserError, match="the video of this clip holds values that are no finite numbers, its latents do not"
    ):
        generate_one(working, IMAGE, "a wall", tmp_path / "clip.mp4")
    with pytest.raises(UserError, match=r"the video of held_out00\d holds values that are no finite numbers"):
        generate_split(working, data, "test", tmp_path / "out", limit=1)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["sampling.json"]


@pytest.mark.parametrize("value", [np.nan, -np.inf, 65520.0])
def test_one_value_is_enough(value):
    latents = np.zeros((2, 3, 4, 5), np.float32)
    require_finite_latents(latents + 65504, "a")
    latents[1, 2, 3, 4] = value
    with pytest.raises(UserError, match="the latents of a hold"):
        require_finite_latents(latents, "a")
    video = np.zeros((2, 3, 4, 3), np.float32)
    require_finite_video(video + 1e9, "a")
    video[1, 2, 3, 2] = np.inf
    with pytest.raises(UserError, match="the video of a holds"):
        require_finite_video(video, "a")
