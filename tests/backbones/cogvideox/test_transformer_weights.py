import dataclasses
import json
import math
import re
from pathlib import Path

import jax
import pytest

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.conversion.rules import expected_shapes
from sr_jax.errors import UserError
from tests.models.tiny_transformers import I2V, I2V_1_5, ROPE, ROPE_1_5, TINY, Predictor

VARIANTS = {"2b": TINY, "5b": ROPE, "5b_i2v": I2V, "1_5_5b": ROPE_1_5, "1_5_5b_i2v": I2V_1_5}


def abstract(config: CogVideoXConfig) -> dict:
    return Predictor(config).abstract_params()


@pytest.mark.parametrize("config", [*RELEASED.values(), *VARIANTS.values()])
def test_names_and_shapes_are_those_of_diffusers(original, config):
    rules = transformer.rules(config)
    assert len({rule.source for rule in rules}) == len(rules)
    # Three blocks tell as much as all.
    config = dataclasses.replace(config, num_layers=min(config.num_layers, 3))
    options = transformer.config_to_diffusers(config)
    assert options.pop("_class_name") == "CogVideoXTransformer3DModel"
    assert expected_shapes(transformer.rules(config), abstract(config)) == original("transformer").shapes(options)


@pytest.mark.parametrize("name", RELEASED)
def test_rules_cover_every_parameter_of_the_released_models_once(name):
    config = RELEASED[name]
    rows = {}
    for rule in transformer.rules(config):
        rows.setdefault(rule.target, []).append(rule.layer)
    flat = jax.tree_util.tree_flatten_with_path(abstract(config))[0]
    assert rows.keys() == {tuple(key.key for key in path) for path, _ in flat}
    assert all(layers in ([None], list(range(config.num_layers))) for layers in rows.values())


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in the released 5B-I2V, whose file lists one of the 42 blocks."""
    lines = (Path(__file__).parent / "published" / "cogvideox_5b_i2v_transformer.txt").read_text().splitlines()
    shapes = {name: tuple(map(int, re.findall(r"\d+", shape))) for name, shape in (line.split("\t") for line in lines)}
    block = {name: shape for name, shape in shapes.items() if name.startswith("transformer_blocks.0.")}
    return shapes | {name.replace(".0.", f".{i}.", 1): shape for i in range(42) for name, shape in block.items()}


def test_5b_i2v_is_the_published_one():
    config = RELEASED["5b_i2v"]
    shapes = expected_shapes(transformer.rules(config), abstract(config))
    assert shapes == published_shapes()
    del shapes["patch_embed.pos_embedding"]
    assert sum(math.prod(shape) for shape in shapes.values()) == 5_570_479_680


@pytest.mark.parametrize("config", [*RELEASED.values(), *VARIANTS.values()])
def test_config_round_trip(config):
    theirs = json.loads(json.dumps(transformer.config_to_diffusers(config)))
    assert transformer.config_from_diffusers(theirs | {"_diffusers_version": "0.31.0"}) == config


def test_fields_left_out_have_diffusers_defaults(original):
    defaults = original("transformer").defaults()
    assert transformer.config_from_diffusers({}) == transformer.config_from_diffusers(defaults) == CogVideoXConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attention_bias", False),
        ("attention_bias", 1),
        ("freq_shift", 1),
        ("num_experts", 8),
        ("in_channels", 33),
        ("num_layers", "2"),
        ("num_layers", None),
        ("num_layers", 2.0),
        ("num_layers", True),
        ("num_layers", -1),
        ("num_layers", 10**6),
        ("num_attention_heads", [30]),
        ("patch_bias", "false"),
        ("patch_size_t", 0),
        ("sample_height", 10**9),
        ("norm_eps", float("nan")),
        ("norm_eps", False),
        ("ofs_embed_dim", {}),
    ],
)
def test_what_is_not_computed_or_cannot_be_is_refused_in_one_line(field, value):
    with pytest.raises(UserError, match=f"the transformer's config has {field}") as error:
        transformer.config_from_diffusers({field: value})
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"use_rotary_positional_embeddings": True, "attention_head_dim": 24},
            "attention_head_dim 24: it must be a m",
        ),
        ({"num_attention_heads": 3, "attention_head_dim": 4}, "a width of 12: it must be a multiple of 16"),
        ({"sample_height": 1}, "sample_height 1: it must be at least one patch of 2"),
        # Before any memory is asked for.
        ({"use_learned_positional_embeddings": True, "sample_frames": 10**6}, "a position table of 648"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        transformer.config_from_diffusers(fields)


def test_what_says_nothing_of_the_numbers_is_passed_over_as_in_diffusers():
    harmless = {"torch_dtype": "bfloat16", "quantization_config": {"bits": 8}, "_name_or_path": "x", "later": None}
    theirs = transformer.config_to_diffusers(VARIANTS["5b_i2v"]) | harmless
    assert transformer.config_from_diffusers(theirs) == VARIANTS["5b_i2v"]
