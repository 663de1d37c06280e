"""A dropped caption is the empty caption, not zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.data.builder import read_empty_prompt
from sr_jax.data.pipeline import train_batches
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.training import builders
from sr_jax.training.denoising import Denoising
from sr_jax.training.objectives import Objectives
from sr_jax.training.stages import drop
from tests.data.synthetic import empty_prompt, record_spec
from tests.training.conftest import LATENT_CHANNELS as CHANNELS
from tests.training.helpers import batch_loss
from tests.training.watched import WatchedTransformer


def texts_seen(dataset, probability: float, frozen: dict) -> tuple[np.ndarray, np.ndarray]:
    """The captions of a batch, and what the transformer gets for them."""
    batch = {name: jnp.asarray(value) for name, value in next(train_batches(dataset, batch_size=6, seed=0)).items()}
    backbone = CogVideoX(CogVideoXConfig(in_channels=2 * CHANNELS, out_channels=CHANNELS))
    transformer = WatchedTransformer(*batch["latent_mean"].shape[2:])
    stage = Denoising(backbone, transformer, VPrediction(), Objectives({}), {}, 0.0, probability, dict)
    batch_loss(stage)({"transformer": {}}, frozen, batch, jax.random.key(5))
    return np.asarray(batch["text_embedding"]), transformer.text


def test_dropped_captions_are_the_datasets_empty_prompt(dataset, tiny):
    frozen = builders.load_frozen(builders.build_stage(tiny("base")))
    empty = empty_prompt(record_spec()).astype(np.float16)
    np.testing.assert_array_equal(frozen["empty_prompt"], empty)
    assert np.abs(empty).max() > 1
    captions, seen = texts_seen(dataset, 0.5, frozen)
    dropped = np.array([np.array_equal(row, empty) for row in seen])
    kept = np.array([np.array_equal(row, caption) for row, caption in zip(seen, captions, strict=True)])
    np.testing.assert_array_equal(dropped, ~kept)
    assert 0 < dropped.sum() < 6


def test_without_text_dropout_the_empty_prompt_is_not_read(dataset, tiny):
    assert builders.load_frozen(builders.build_stage(tiny("base", text_dropout=0.0, **{"data.dir": "nowhere"}))) == {}
    captions, seen = texts_seen(dataset, 0.0, {})
    np.testing.assert_array_equal(seen, captions)


def test_stage_one_reads_no_text(tiny):
    assert builders.load_frozen(builders.build_stage(tiny("stage_one", **{"data.dir": "nowhere"}))) == {}


@pytest.mark.parametrize("instead", [0.0, 7.0])
def test_samples_are_dropped_whole_with_the_given_probability(instead):
    values = jnp.ones((4000, 2, 3))
    got = np.asarray(drop(values, 0.25, jax.random.key(0), instead=instead))
    dropped = (got == instead).all(axis=(1, 2))
    np.testing.assert_array_equal(dropped, ~(got == 1).all(axis=(1, 2)))
    assert dropped.mean() == pytest.approx(0.25, abs=0.03)


def test_the_empty_prompt_of_a_dataset(dataset):
    assert read_empty_prompt(dataset).dtype == np.float32
