import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.cogvideox.position_table import fit_position_table, resize_table
from sr_jax.backbones.cogvideox.transformer_weights import config_to_diffusers
from tests.models.tiny_transformers import I2V, ROPE, Predictor, our_params, random_inputs, random_transformer_weights

SIZE = (5, 12, 8)


@pytest.fixture(scope="module")
def given(original):
    return our_params(random_transformer_weights(original, I2V), I2V)


def output(params, config, batch):
    return jax.jit(Predictor(config).apply)(params, *batch)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_drop_is_a_table_of_zeros(original, given):
    params, config = fit_position_table(given, I2V, SIZE, "drop")
    batch = random_inputs(I2V, 2, I2V.sample_size)
    zeros = np.zeros((1, *given["patch_embed"]["pos_embedding"].shape), np.float32)
    theirs = original("transformer").forward_with_table(dataclasses.asdict(I2V), 0, zeros, *batch)
    assert_close(output(params, config, batch), theirs)


def test_drop_fits_every_size(original, given):
    params, config = fit_position_table(given, I2V, SIZE, "drop")
    batch = random_inputs(I2V, 2, SIZE)
    theirs = original("transformer").forward_without_table(dataclasses.asdict(I2V), 0, *batch)
    assert_close(output(params, config, batch), theirs)


def test_interpolate_is_again_a_model_of_diffusers(original, given):
    params, config = fit_position_table(given, I2V, SIZE, "interpolate")
    assert config.sample_size == SIZE and config_to_diffusers(config)["sample_frames"] == 17
    batch = random_inputs(config, 2, SIZE)
    theirs = original("transformer").forward_with_resized_table(
        dataclasses.asdict(config), 0, (3, 4, 6), (5, 6, 4), *batch
    )
    assert_close(output(params, config, batch), theirs)


def test_interpolation_of_a_plane_is_a_plane():
    """A value that grows evenly with frame, row or column does so after, at the centres of the new cells."""
    tokens, new = (3, 4, 6), (6, 2, 6)
    t, h, w = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in tokens], indexing="ij")
    text = np.full((2, 3), 7.0)
    table = np.concatenate([text, np.stack([t, h, w], axis=-1).reshape(-1, 3)]).astype(np.float32)
    resized = np.asarray(resize_table(jnp.asarray(table), 2, tokens, new))
    np.testing.assert_array_equal(resized[:2], text)
    grid = resized[2:].reshape(*new, 3)
    np.testing.assert_allclose(grid[1:-1, 0, 0, 0], (np.arange(1, 5) + 0.5) / 6, rtol=1e-6)
    np.testing.assert_allclose(grid[0, :, 0, 1], [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(grid[0, 0, :, 2], w[0, 0], rtol=1e-6)


@pytest.mark.parametrize(("config", "how"), [(I2V, "keep"), (I2V, "interpolate"), (ROPE, "keep"), (ROPE, "drop")])
def test_what_fits_stays_as_it_is(given, config, how):
    assert fit_position_table(given, config, config.sample_size, how) == (given, config)
