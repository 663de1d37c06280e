"""Clips that go on from their last frame."""

import dataclasses

import jax
import numpy as np
import pytest

from sr_jax.generation.pipeline import ImageToVideo
from sr_jax.generation.sampler import clip_key
from sr_jax.media.video import to_uint8
from tests.evaluation.conftest import make_generator
from tests.evaluation.fakes import FRAMES, HEIGHT, WIDTH


@pytest.fixture(scope="module")
def pipeline() -> ImageToVideo:
    return make_generator(batch_size=1).pipeline


@pytest.mark.parametrize("frames", [6, 9, 12])
def test_each_part_starts_from_the_last_frame_of_the_one_before(pipeline, frames):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    video = dataclasses.replace(pipeline, continued_to=frames)(image, "a wall", seed=4)
    assert video.shape == (frames, HEIGHT, WIDTH, 3)
    key = clip_key(4, "a wall")
    first = np.concatenate(list(pipeline.decode(pipeline.latents(image, "a wall", key), "x")))
    np.testing.assert_allclose(video[:FRAMES], first, atol=1e-5)
    # The frame that it starts from is shown once.
    part = np.concatenate(
        list(pipeline.decode(pipeline.latents(to_uint8(first[-1]), "a wall", jax.random.fold_in(key, 3)), "x"))
    )
    shown = min(frames - FRAMES, FRAMES - 1)
    np.testing.assert_allclose(video[FRAMES : FRAMES + shown], part[1 : 1 + shown], atol=1e-5)
    assert np.abs(part[1:] - first[1:]).max() > 0.05


def test_a_clip_of_the_models_length_is_not_continued(pipeline):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert len(pipeline(image, "a")) == FRAMES
