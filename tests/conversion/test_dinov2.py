import dataclasses
import json
import math

import jax
import numpy as np
import pytest
import safetensors.numpy

from sr_jax.conversion.dinov2 import read_release, rules
from sr_jax.conversion.rules import expected_shapes
from sr_jax.errors import UserError
from sr_jax.models.dinov2 import DINOv2, DINOv2Config
from sr_jax.models.functional import Functional
from tests.comparison import relative_error
from tests.models.tiny_dinov2 import OPTIONS, TINY, original_weights, weights, write_folder

GATED = OPTIONS | {"use_swiglu_ffn": True}
TAPS = (1, 4)


def features(config, params, images, taps=TAPS):
    network = Functional(lambda rngs: DINOv2(config, rngs=rngs))
    return jax.jit(network.apply, static_argnums=2)(params, images, taps)


@pytest.mark.parametrize("options", [OPTIONS, GATED], ids=["plain", "gated"])
def test_a_folder_gives_what_transformers_makes_of_it(original, tmp_path, options):
    images = np.random.default_rng(0).standard_normal((1, 42, 98, 3)).astype(np.float32)
    expected = original("dinov2").features_of_folder(options, images, TAPS)
    write_folder(tmp_path, *original("dinov2").released(options))
    config, params, file = read_release(tmp_path)
    assert config == dataclasses.replace(TINY, swiglu="use_swiglu_ffn" in options)
    assert file == tmp_path / "model.safetensors"
    for ours, theirs in zip(features(config, params, images), expected, strict=True):
        assert relative_error(ours.reshape(theirs.shape), theirs) < 1e-5


@pytest.mark.parametrize("swiglu", [False, True])
def test_an_original_state_dict_holds_the_same_network(original, tmp_path, swiglu):
    options = OPTIONS | ({"use_swiglu_ffn": True} if swiglu else {}) | {"hidden_size": 128, "num_attention_heads": 2}
    _, names = original("dinov2").released(options)
    safetensors.numpy.save_file(original_weights(names), tmp_path / "dinov2_vit.safetensors")
    write_folder(tmp_path, *original("dinov2").released(options))
    config, params, _ = read_release(tmp_path / "dinov2_vit.safetensors")
    # The original adds an offset where it interpolates positions.
    of_folder, same, _ = read_release(tmp_path)
    assert config == dataclasses.replace(of_folder, interpolate_offset=0.1)
    jax.tree.map(np.testing.assert_array_equal, params, same)


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ({}, 22.1),
        ({"hidden_size": 768, "num_attention_heads": 12}, 86.6),
        ({"hidden_size": 1536, "num_layers": 40, "num_attention_heads": 24, "swiglu": True}, 1136.5),
    ],
)
def test_full_sizes_are_as_published(sizes, millions):
    config = DINOv2Config(**sizes)
    network = Functional(lambda rngs: DINOv2(config, rngs=rngs))
    shapes = expected_shapes(rules(config), network.abstract_params())
    # Less the mask token.
    assert sum(map(math.prod, shapes.values())) / 1e6 == pytest.approx(millions, abs=0.05)


def _folder(original, path, **fields):
    config, names = original("dinov2").released(OPTIONS)
    write_folder(path, json.dumps(json.loads(config) | fields), names)
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "dinov2_with_registers"}, "'dinov2_with_registers': only 'dinov2' is known, without registers"),
        ({"hidden_act": "relu"}, "hidden_act 'relu': no released DINOv2"),
        ({"num_hidden_layers": "5"}, "num_hidden_layers '5': no released DINOv2"),
        ({"num_hidden_layers": 6}, r"missing: encoder\.layer\.5\."),
        ({"num_hidden_layers": 4}, r"unexpected: encoder\.layer\.4\."),
        ({"hidden_size": 48}, r"cls_token \(1, 1, 24\) instead of \(1, 1, 48\)"),
        ({"use_swiglu_ffn": True}, r"missing: .*mlp\.weights_in"),
    ],
)
def test_another_network_is_named(original, tmp_path, fields, message):
    with pytest.raises(UserError, match=message) as error:
        read_release(_folder(original, tmp_path, **fields))
    assert "\n" not in str(error.value)


def test_what_is_missing_or_damaged_is_named(original, tmp_path):
    with pytest.raises(UserError, match=r"no config of a DINOv2 at .*config\.json: name a folder"):
        read_release(tmp_path)
    folder = _folder(original, tmp_path / "folder")
    (folder / "config.json").write_text("[")
    with pytest.raises(UserError, match=r"cannot read .*config\.json"):
        read_release(folder)
    (_folder(original, folder) / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights at .*model\.safetensors"):
        read_release(folder)
    with pytest.raises(UserError, match=r"no weights at .*gone\.pth"):
        read_release(tmp_path / "gone.pth")


def test_registers_and_other_networks_are_refused_by_name(original, tmp_path):
    _, names = original("dinov2").released(OPTIONS)
    tensors = original_weights(names)
    file = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(tensors | {"register_tokens": np.zeros((1, 4, 24), np.float32)}, file)
    with pytest.raises(UserError, match="a DINOv2 with registers: use one without"):
        read_release(file)
    safetensors.numpy.save_file(weights(names), file)
    with pytest.raises(UserError, match="no state dict of a DINOv2: it lacks the embedding of patches"):
        read_release(file)
