import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sr_jax.backbones.cogvideox.position_table import fit_position_table, resize_table
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.backbones.cogvideox.transformer_weights import config_to_diffusers
from sr_jax.models.functional import Functional
from tests.models.diffusers_twin import I2V, ROPE, diffusers_model, our_params, run_diffusers

SIZE = (5, 12, 8)


def outputs(params, config, model, size):
    """Ours and diffusers'."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((2, *size, config.in_channels), np.float32)
    text, timesteps = rng.standard_normal((2, 5, 10), np.float32), np.array([5, 900], np.int32)
    module = Functional(lambda rngs: CogVideoXTransformer3D(config, rngs=rngs))
    ours = jax.jit(module.apply)(params, *map(jnp.asarray, (latents, text, timesteps)))
    with torch.no_grad():
        theirs = run_diffusers(model, config, *map(torch.from_numpy, (latents, text, timesteps))).numpy()
    return ours, theirs


def without_table(model):
    """Diffusers' model with a table of zeros, which is none."""
    model.patch_embed.pos_embedding.zero_()
    return model


def test_drop_fits_every_size():
    params, config = fit_position_table(our_params(diffusers_model(I2V).state_dict(), I2V), I2V, SIZE, "drop")
    ours, theirs = outputs(params, config, without_table(diffusers_model(I2V)), I2V.sample_size)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    model = diffusers_model(I2V)
    model.patch_embed.use_learned_positional_embeddings = model.patch_embed.use_positional_embeddings = False
    ours, theirs = outputs(params, config, model, SIZE)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_interpolate_is_again_a_model_of_diffusers():
    given = our_params(diffusers_model(I2V).state_dict(), I2V)
    params, config = fit_position_table(given, I2V, SIZE, "interpolate")
    assert config.sample_size == SIZE and config_to_diffusers(config)["sample_frames"] == 17
    model = diffusers_model(config)
    # All weights but the table are those of the first size: the same seed draws the table first.
    tensors = diffusers_model(I2V).state_dict() | {
        "patch_embed.pos_embedding": torch.tensor(params["patch_embed"]["pos_embedding"])[None]
    }
    model.load_state_dict(tensors)
    ours, theirs = outputs(params, config, model, SIZE)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


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
def test_what_fits_stays_as_it_is(config, how):
    params = our_params(diffusers_model(config).state_dict(), config)
    assert fit_position_table(params, config, config.sample_size, how) == (params, config)
