import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.alignment.structure_module import StructureModule
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.pruning import evenly_spaced, pruned_params
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.parallel.lazy import on_host
from tests.models.tiny_transformers import (
    I2V,
    I2V_1_5,
    ROPE,
    ROPE_1_5,
    Predictor,
    our_params,
    random_inputs,
    random_transformer_weights,
)

LAYERS = 5


def transformer(config) -> Functional:
    return Predictor(config)


def structure(config) -> Functional:
    return Functional(lambda rngs: StructureModule(CogVideoX(config), rngs=rngs))


def started(target: dict, params: dict, layers_from: int, layers_to: int) -> dict:
    return target | {"transformer": pruned_params(target["transformer"], params, layers_from, layers_to)}


def random_params(module: Functional, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.standard_normal(x.shape, np.float32)), module.abstract_params())


@pytest.mark.parametrize(
    ("n_from", "n_to", "expected"),
    [(5, 5, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (6, 2, [0, 5]), (7, 1, [0]), (42, 4, [0, 14, 27, 41])],
)
def test_evenly_spaced(n_from, n_to, expected):
    assert evenly_spaced(n_from, n_to) == expected


def test_evenly_spaced_is_always_distinct_and_within():
    for n_from in range(2, 43):
        for n_to in range(2, n_from + 1):
            kept = evenly_spaced(n_from, n_to)
            assert kept == sorted(set(kept)) and len(kept) == n_to and (kept[0], kept[-1]) == (0, n_from - 1)


@pytest.mark.parametrize(("n_from", "n_to"), [(3, 4), (3, 0)])
def test_impossible_pruning_is_refused(n_from, n_to):
    with pytest.raises(UserError, match=f"choose 1 to {n_from}"):
        evenly_spaced(n_from, n_to)


@pytest.mark.parametrize("config", [ROPE_1_5, I2V])
def test_a_pruned_copy_computes_what_the_transformer_with_those_blocks_computes(config):
    # Not pruned in depth, and with zero image latents, the copy is the transformer at timestep 0: without text, or with
    # the empty prompt where a learned table has places for it.
    config = dataclasses.replace(config, num_layers=LAYERS)
    pretrained = random_params(transformer(config))
    copied, with_text = dataclasses.replace(config, in_channels=4), config.use_learned_positional_embeddings
    target = Functional(lambda rngs: StructureModule(CogVideoX(copied), rngs=rngs, with_text=with_text))
    params = on_host(started(random_params(target, seed=1), pretrained, LAYERS, LAYERS))
    size = I2V.sample_size if config.use_learned_positional_embeddings else (2, 6, 10)
    latents = jax.random.normal(jax.random.key(0), (2, *size, 4))
    padded = jnp.pad(latents, [(0, 0)] * 4 + [(0, config.in_channels - 4)])
    text = params["empty_prompt"] if with_text else jnp.zeros((0, config.text_embed_dim))
    text, zeros = jnp.broadcast_to(text, (2, *text.shape)), jnp.zeros((2,), jnp.int32)
    expected = jax.jit(transformer(config).apply)(pretrained, padded, text, zeros)
    got = jax.jit(target.apply)(params, latents)
    assert got.shape == latents.shape
    np.testing.assert_allclose(got, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_pruning_keeps_evenly_spaced_blocks():
    config = dataclasses.replace(I2V, num_layers=LAYERS)
    pretrained = random_params(transformer(config))
    target = structure(dataclasses.replace(config, in_channels=4, num_layers=3)).abstract_params()
    pruned = started(target, pretrained, LAYERS, 3)["transformer"]
    assert jax.tree.map(np.shape, on_host(pruned)) == jax.tree.map(jnp.shape, target["transformer"])
    jax.tree.map(
        lambda kept, all_blocks: np.testing.assert_array_equal(kept, all_blocks[jnp.array([0, 2, 4])]),
        pruned["transformer_blocks"],
        pretrained["transformer_blocks"],
    )


@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize("config", [dataclasses.replace(ROPE, in_channels=8), I2V_1_5])
def test_the_module_is_the_pruned_model_of_diffusers(original, config, with_text):
    """Blocks 0, 2 and 4 of five, the noisy latents' channels of eight, timestep 0, no text or the empty prompt."""
    config = dataclasses.replace(config, num_layers=LAYERS)
    pruned = dataclasses.replace(config, num_layers=3, in_channels=4)
    module = Functional(lambda rngs: StructureModule(CogVideoX(pruned), rngs=rngs, with_text=with_text))
    latents, text, _ = random_inputs(pruned, 3, (4, 6, 10), text_length=pruned.max_text_seq_length if with_text else 0)
    target = random_params(module)
    if with_text:
        text[1:] = text[0]
        target["empty_prompt"] = jnp.asarray(text[0])
    whole = our_params(random_transformer_weights(original, config), config)
    params = on_host(started(target, whole, LAYERS, 3))
    expected = original("transformer").forward_of_part(
        dataclasses.asdict(config), 0, [0, 2, 4], 4, latents, text, np.zeros(3, np.int32)
    )
    got = jax.jit(module.apply)(params, latents)
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_timesteps_matter():
    module = structure(ROPE)
    params = random_params(module)
    latents = jnp.tile(jax.random.normal(jax.random.key(0), (1, 2, 4, 4, 4)), (3, 1, 1, 1, 1))
    depth = jax.jit(module.apply)(params, latents, jnp.array([0, 0, 600]))
    np.testing.assert_allclose(depth[0], depth[1], atol=1e-5)
    assert np.abs(depth[0] - depth[2]).max() > 1e-2


def test_another_width_is_refused_by_name():
    other = dataclasses.replace(ROPE, num_attention_heads=3)
    with pytest.raises(UserError, match=r"parameter [a-z_.]+ is \(.*\) in the trained one, \(.*\) wanted"):
        started(structure(other).abstract_params(), random_params(transformer(ROPE)), ROPE.num_layers, ROPE.num_layers)


def test_a_parameter_that_the_transformer_lacks_is_refused_by_name():
    with pytest.raises(UserError, match=r"no parameter patch_embed\.pos_embedding"):
        started(
            structure(dataclasses.replace(I2V, in_channels=4)).abstract_params(),
            random_params(transformer(ROPE)),
            ROPE.num_layers,
            ROPE.num_layers,
        )


def test_a_transformer_that_takes_an_image_is_refused():
    with pytest.raises(UserError, match=r"takes no image \(in_channels equal to out_channels\)"):
        structure(I2V)
