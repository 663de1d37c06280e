import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from tests.comparison import relative_error
from tests.models.tiny_transformers import (
    I2V,
    I2V_1_5,
    ROPE,
    ROPE_1_5,
    TINY,
    Predictor,
    our_params,
    random_inputs,
    random_transformer_weights,
)


def functional(config: CogVideoXConfig, **options) -> Functional:
    return Predictor(config, **options)


def theirs(original, config: CogVideoXConfig, batch) -> np.ndarray:
    """What diffusers predicts with the weights of `params`."""
    return original("transformer").forward(dataclasses.asdict(config), 0, *batch)


def params(original, config: CogVideoXConfig) -> dict:
    return our_params(random_transformer_weights(original, config), config)


@pytest.mark.parametrize(
    ("config", "batch", "size"),
    [
        (TINY, 1, (3, 8, 12)),
        (TINY, 3, (1, 6, 10)),
        (TINY, 1, (5, 14, 4)),
        (ROPE, 1, (3, 8, 12)),
        (ROPE, 3, (1, 14, 6)),
        (ROPE, 1, (5, 6, 18)),
        (I2V, 3, (3, 8, 12)),
        (dataclasses.replace(I2V, sample_frames=1, sample_height=6, sample_width=10), 1, (1, 6, 10)),
        (dataclasses.replace(I2V, sample_frames=17, sample_height=10, sample_width=6), 1, (5, 10, 6)),
        (ROPE_1_5, 1, (2, 6, 10)),
        (ROPE_1_5, 3, (6, 14, 2)),
        (I2V_1_5, 3, (4, 6, 10)),
        (I2V_1_5, 1, (2, 20, 24)),
    ],
)
def test_forward_matches_diffusers(original, config, batch, size):
    batch = random_inputs(config, batch, size)
    got = jax.jit(functional(config).apply)(params(original, config), *batch)
    assert relative_error(got, theirs(original, config, batch)) < 1e-4


@pytest.mark.parametrize(
    ("config", "size", "remat"),
    [
        (TINY, (3, 6, 10), "none"),
        (ROPE, (3, 6, 10), "block"),
        (I2V, (3, 8, 12), "save_matmuls"),
        (ROPE_1_5, (4, 6, 10), "save_matmuls"),
        (I2V_1_5, (2, 6, 10), "block"),
    ],
)
def test_gradients_match_diffusers(original, config, size, remat):
    latents, text, timesteps = random_inputs(config, 2, size)
    jax_timesteps = jnp.asarray(timesteps)
    cotangent = np.random.default_rng(1).uniform(-2, 2, (2, *size, config.out_channels)).astype(np.float32)
    found = original("transformer").gradients(dataclasses.asdict(config), 0, latents, text, timesteps, cotangent)
    weights = random_transformer_weights(original, config)
    # The learned table is a buffer of diffusers' model, which is not trained: neither is ours.
    assert weights.keys() - found["parameters"].keys() <= {"patch_embed.pos_embedding"}
    gradients = {name: found["parameters"].get(name, np.zeros_like(weight)) for name, weight in weights.items()}
    expected = (our_params(gradients, config), found["latents"], found["text"])

    def loss(params, latents, text):
        return jnp.sum(functional(config, remat=remat).apply(params, latents, text, jax_timesteps) * cotangent)

    got = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(our_params(weights, config), latents, text)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))

    def check(path, ours, theirs):
        # Some gradients are 0 but for rounding (a key's bias shifts all logits alike): hence the second term.
        allowed = 1e-4 * np.abs(theirs).max() + 1e-6 * largest
        assert np.abs(ours - theirs).max() < allowed, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(check, got, expected)


def test_without_text_equals_diffusers_without_text(original):
    batch = random_inputs(ROPE, 2, (3, 6, 10), text_length=0)
    got = jax.jit(functional(ROPE).apply)(params(original, ROPE), *batch)
    assert relative_error(got, theirs(original, ROPE, batch)) < 1e-4


@pytest.mark.parametrize(
    ("config", "size"),
    [(TINY, (3, 8, 12)), (ROPE, (3, 8, 12)), (I2V, (3, 8, 12)), (ROPE_1_5, (4, 8, 12)), (I2V_1_5, (4, 8, 12))],
)
def test_bfloat16_is_close_and_keeps_float32_parameters(original, config, size):
    batch = random_inputs(config, 2, size)
    expected = theirs(original, config, batch)
    half = functional(config, dtype=jnp.bfloat16)
    got = jax.jit(half.apply)(params(original, config), *batch)
    assert got.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(half.abstract_params())} == {jnp.dtype(jnp.float32)}
    # As one vector: the largest of many rounding errors grows with their number.
    error = np.linalg.norm(got.astype(np.float32) - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 2e-2


def test_fresh_model_predicts_zero_and_every_parameter_learns_once_it_moved():
    module = functional(ROPE)
    params = jax.jit(module.init)(jax.random.key(0))
    latents, text, timesteps = map(jnp.asarray, random_inputs(ROPE, 2, (3, 8, 12)))

    def loss(params):
        return jnp.mean((module.apply(params, latents, text, timesteps) - 1) ** 2)

    value_and_grad = jax.jit(jax.value_and_grad(loss))
    assert value_and_grad(params)[0] == 1.0
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32), params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(value_and_grad(moved)[1]))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("2b", 1_693_783_872),
        ("5b", 5_570_283_072),
        ("5b_i2v", 5_570_479_680),
        ("1_5_5b", 5_570_676_352),
        ("1_5_5b_i2v", 5_571_594_880),
    ],
)
def test_released_sizes(name, count):
    # The learned table of 5B-I2V (17,776 x 3072) is not among the parameters that diffusers counts.
    config = dataclasses.replace(RELEASED[name], use_learned_positional_embeddings=False)
    assert sum(leaf.size for leaf in jax.tree.leaves(functional(config).abstract_params())) == count


@pytest.mark.parametrize("config", [TINY, I2V, I2V_1_5])
def test_every_parameter_names_its_axes(config):
    for path, variable in nnx.to_flat_state(functional(config).abstract):
        stacked = int(path[0] == "transformer_blocks")
        assert len(variable.get_metadata("logical_axes")) + stacked == variable.get_value().ndim, path


@pytest.mark.parametrize(
    ("config", "size", "channels", "words"),
    [
        (TINY, (3, 7, 12), 4, "multiples of (1, 2, 2)"),
        (ROPE_1_5, (3, 8, 12), 4, "multiples of (2, 2, 2)"),
        (I2V, (3, 8, 12), 4, "8 channels"),
        (I2V, (5, 8, 12), 8, "learned position table"),
        (I2V, (2, 8, 12), 8, "learned position table"),
        (I2V, (1, 8, 10), 8, "learned position table"),
    ],
)
def test_latents_that_do_not_fit_are_refused(config, size, channels, words):
    module = functional(config)
    latents, text = jnp.zeros((1, *size, channels)), jnp.zeros((1, 5, config.text_embed_dim))
    with pytest.raises(UserError) as error:
        jax.eval_shape(module.apply, module.abstract_params(), latents, text, jnp.zeros((1,), jnp.int32))
    assert words in str(error.value)


def test_a_still_image_takes_the_learned_positions_of_the_first_frame():
    latents, text, timesteps = random_inputs(I2V, 2, (1, *I2V.sample_size[1:]))
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), functional(I2V).abstract_params())
    # A model of videos of one frame, with the rows of the text and of the 4 x 6 tokens of the first frame.
    short, table = dataclasses.replace(I2V, sample_frames=1), weights["patch_embed"]["pos_embedding"]
    of_short = weights | {"patch_embed": weights["patch_embed"] | {"pos_embedding": table[: 5 + 4 * 6]}}
    expected = jax.jit(functional(short).apply)(of_short, latents, text, timesteps)
    got = jax.jit(functional(I2V).apply)(weights, latents, text, timesteps)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("more", [1, -1, -I2V.max_text_seq_length])
def test_the_learned_table_takes_prompts_of_one_length_as_in_diffusers(more):
    module, length = functional(I2V), I2V.max_text_seq_length
    latents, text = jnp.zeros((1, *I2V.sample_size, 8)), jnp.zeros((1, length + more, I2V.text_embed_dim))
    words = f"is for {length} text tokens, not {length + more}: set text.num_tokens to that"
    with pytest.raises(UserError, match=words):
        jax.eval_shape(module.apply, module.abstract_params(), latents, text, jnp.zeros((1,), jnp.int32))
