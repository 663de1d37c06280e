import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from sr_jax.backbones.cogvideox import vae_weights as vae
from sr_jax.backbones.cogvideox.vae_network import RELEASED, Autoencoder, CogVideoXVAEConfig
from sr_jax.conversion.rules import convert_state_dict, expected_shapes, to_theirs
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.sharding import ShardingRules, param_shardings
from tests.models import tiny_vae
from tests.models.tiny_vae import DEEP, SMALL


def functional(config: CogVideoXVAEConfig) -> Functional:
    return Functional(lambda rngs: Autoencoder(config, rngs=rngs))


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in the released autoencoders, which all have the same."""
    lines = (Path(__file__).parent / "published" / "cogvideox_vae.txt").read_text().splitlines()
    return {name: tuple(map(int, re.findall(r"\d+", shape))) for name, shape in (line.split("\t") for line in lines)}


@pytest.fixture(scope="module")
def full_size():
    """The full-size autoencoder; nothing is allocated."""
    return functional(RELEASED["5b_i2v"])


def test_full_size_is_as_published(full_size):
    abstract = full_size.abstract_params()
    assert expected_shapes(vae.rules(RELEASED["5b_i2v"]), abstract) == published_shapes()
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract)) == 215_583_907
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(abstract))


def test_every_parameter_has_a_sharding(full_size):
    mesh = make_mesh({"data": 1, "fsdp": 8, "tensor": 1})
    shardings = param_shardings(full_size.abstract, mesh, ShardingRules())
    kernel = shardings["decoder"]["conv_in"]["conv"]["kernel"]
    assert kernel.shard_shape((3, 3, 3, 16, 512)) == (3, 3, 3, 16, 64)


def test_every_tensor_comes_back_bit_by_bit(original):
    tensors = tiny_vae.weights(original("vae").shapes(DEEP))
    config = vae.config_from_diffusers(original("vae").config(DEEP))
    rules = vae.rules(config)
    params = convert_state_dict(rules, tensors, functional(config).abstract_params())
    for rule in rules:
        array = params
        for part in rule.target:
            array = array[part]
        np.testing.assert_array_equal(to_theirs(array, rule.layout), tensors[rule.source], strict=True)


@pytest.mark.parametrize("options", [{}, SMALL, DEEP, {"scaling_factor": 0.7, "invert_scale_latents": True}])
def test_configs_come_back(original, options):
    config_json = original("vae").config(options)
    config = vae.config_from_diffusers(config_json)
    assert vae.config_to_diffusers(config) == {
        name: value for name, value in config_json.items() if name != "_diffusers_version"
    }


def test_released_configs_are_loaded_by_diffusers(original):
    for config in RELEASED.values():
        shapes, config_json = original("vae").from_config(vae.config_to_diffusers(config))
        assert shapes == published_shapes()
        assert config_json["scaling_factor"] == config.scaling_factor
        assert config_json["invert_scale_latents"] == config.invert_scale_latents


def test_a_config_without_later_options_is_that_of_the_first_release():
    assert vae.config_from_diffusers({"scaling_factor": 1.15258426}) == RELEASED["2b"]


@pytest.mark.parametrize(
    "option",
    [
        {"use_quant_conv": True},
        {"act_fn": "relu"},
        {"latents_mean": [0.0] * 16},
        {"temporal_compression_ratio": 8},
        {"down_block_types": ["CogVideoXDownBlock3D"] * 3},
        {"down_block_types": "CogVideoXDownBlock3D"},
    ],
)
def test_what_no_released_autoencoder_has_is_told(option):
    with pytest.raises(UserError, match=f"the autoencoder's config has {next(iter(option))} .* is supported"):
        vae.config_from_diffusers(option)


@pytest.mark.parametrize(
    "option",
    [
        # Two stages: the frames would be halved once, and a decoded video have half of the frames that it should.
        {"block_out_channels": [128, 256]},
        {"block_out_channels": []},
        {"block_out_channels": "128"},
        {"block_out_channels": [128, 256, 256, 512.0]},
        {"block_out_channels": [128, 250, 256, 512]},
        {"block_out_channels": [32] * 11},
        {"layers_per_block": 10**6},
        {"norm_num_groups": 7},
        {"scaling_factor": 0},
        {"scaling_factor": float("inf")},
        {"scaling_factor": "0.7"},
        {"invert_scale_latents": 1},
        {"num_codes": 8},
    ],
)
def test_what_cannot_be_is_told_in_one_line(option):
    with pytest.raises(UserError, match="the autoencoder's config has ") as error:
        vae.config_from_diffusers(option)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_what_says_nothing_of_the_numbers_is_passed_over_as_in_diffusers():
    harmless = {
        "torch_dtype": "bfloat16",
        "quantization_config": {"bits": 8},
        "sample_size": 256,
        "force_upcast": False,
    }
    assert vae.config_from_diffusers(vae.config_to_diffusers(RELEASED["5b"]) | harmless) == RELEASED["5b"]
