"""A transformer in one file, under the names of each program."""

import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import safetensors.numpy

from sr_jax.backbones.cogvideox.parts import PARTS
from sr_jax.checkpoints.pairs import sampling_schedule
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.conversion.parts import Release
from sr_jax.conversion.rules import expected_shapes
from sr_jax.conversion.single_file import as_folder
from sr_jax.errors import UserError
from sr_jax.parallel.lazy import on_host
from tests.conversion.folders import stored_tensors, their_tensors
from tests.conversion.test_convert import run
from tests.models.tiny_transformers import I2V, I2V_1_5, TINY, weights_of

_CONFIGS = {"2b": TINY, "5b_i2v": I2V, "1_5_5b_i2v": I2V_1_5}
KIND = dataclasses.replace(
    PARTS["transformer"],
    released={
        name: Release(config, PARTS["transformer"].released[name].scheduler) for name, config in _CONFIGS.items()
    },
)
# By hand, of names in a block and elsewhere; all others are diffusers'.
_COMFYUI = {
    r"transformer_blocks\.(\d)\.attn1\.to_out\.0": r"blocks.\1.attn_out",
    r"transformer_blocks\.(\d)\.attn1\.to_": r"blocks.\1.",
    r"transformer_blocks\.(\d)\.attn1\.": r"blocks.\1.",
    r"transformer_blocks\.(\d)\.ff\.net\.0\.proj": r"blocks.\1.ff_proj",
    r"transformer_blocks\.(\d)\.ff\.net\.2": r"blocks.\1.ff_out",
    r"transformer_blocks\.": "blocks.",
    r"(time|ofs)_embedding\.": r"\1_embedding_",
}
_ORIGINAL = {
    r"transformer_blocks\.(\d)\.attn1\.to_out\.0": r"transformer.layers.\1.attention.dense",
    r"transformer_blocks\.(\d)\.attn1\.norm_q": r"mixins.adaln_layer.query_layernorm_list.\1",
    r"transformer_blocks\.(\d)\.attn1\.norm_k": r"mixins.adaln_layer.key_layernorm_list.\1",
    r"transformer_blocks\.(\d)\.ff\.net\.0\.proj": r"transformer.layers.\1.mlp.dense_h_to_4h",
    r"transformer_blocks\.(\d)\.ff\.net\.2": r"transformer.layers.\1.mlp.dense_4h_to_h",
    r"transformer_blocks\.(\d)\.norm1\.norm": r"transformer.layers.\1.input_layernorm",
    r"transformer_blocks\.(\d)\.norm2\.norm": r"transformer.layers.\1.post_attention_layernorm",
    r"time_embedding\.linear_1": "time_embed.0",
    r"time_embedding\.linear_2": "time_embed.2",
    r"ofs_embedding\.linear_1": "ofs_embed.0",
    r"ofs_embedding\.linear_2": "ofs_embed.2",
    r"patch_embed\.pos_embedding": "mixins.pos_embed.pos_embedding",
    r"patch_embed\.": "mixins.patch_embed.",
    r"norm_final\.": "transformer.final_layernorm.",
    r"norm_out\.linear": "mixins.final_layer.adaLN_modulation.1",
    r"norm_out\.norm": "mixins.final_layer.norm_final",
    r"proj_out\.": "mixins.final_layer.linear.",
}


@functools.cache
def weights(config):
    rules = KIND.conversion.rules(config)
    return weights_of(expected_shapes(rules, KIND.functional(config).abstract_params()), seed=0)


def alone(release):
    """The kind with one release: others need not be told apart."""
    return dataclasses.replace(KIND, released={release: KIND.released[release]})


def renamed(tensors, names):
    result = {}
    for name, tensor in tensors.items():
        for pattern, other in names.items():
            name, done = re.subn(f"^{pattern}", other, name)
            if done:
                break
        result[name] = tensor
    return result


def as_comfyui(tensors):
    return renamed(tensors, _COMFYUI)


def as_original(tensors):
    """Queries, keys and values joined, and so the modulations of both norms, whose halves are of video and text."""
    tensors, joined = dict(tensors), {}
    for block in (0, 1):
        ours, theirs = f"transformer_blocks.{block}", f"transformer.layers.{block}"
        for ending in ("weight", "bias"):
            qkv = [tensors.pop(f"{ours}.attn1.to_{name}.{ending}") for name in "qkv"]
            joined[f"{theirs}.attention.query_key_value.{ending}"] = np.concatenate(qkv)
            halves = [np.split(tensors.pop(f"{ours}.norm{i}.linear.{ending}"), 2) for i in (1, 2)]
            (video_1, text_1), (video_2, text_2) = halves
            modulations = np.concatenate([video_1, video_2, text_1, text_2])
            joined[f"mixins.adaln_layer.adaLN_modulations.{block}.1.{ending}"] = modulations
    computed = {"mixins.pos_embed.freqs_sin": np.ones((4, 2), np.float32)}
    return joined | renamed(tensors, _ORIGINAL) | computed


def write(path, tensors, prefix=""):
    content = {f"{prefix}{name}": np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    safetensors.numpy.save_file(content, path)
    return path


@pytest.mark.parametrize(
    ("release", "names", "prefix"),
    [
        ("2b", dict, ""),
        ("5b_i2v", dict, "model.diffusion_model."),
        ("1_5_5b_i2v", as_comfyui, "diffusion_model."),
        ("2b", as_original, ""),
        ("5b_i2v", as_original, "diffusion_model."),
        ("1_5_5b_i2v", as_original, "model.diffusion_model."),
    ],
)
def test_the_tensors_come_out_under_diffusers_names(tmp_path, release, names, prefix):
    expected = weights(_CONFIGS[release])
    path = write(tmp_path / "model.safetensors", names(expected), prefix)
    with as_folder(path, tmp_path / "ours", [alone(release)]) as source:
        found = stored_tensors(source.folder / "transformer")
        config = json.loads((source.folder / "transformer" / "config.json").read_text())
        scheduler = json.loads((source.folder / "scheduler" / "scheduler_config.json").read_text())
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
    assert KIND.conversion.config_from_diffusers(config) == _CONFIGS[release]
    assert scheduler["snr_shift_scale"] == (3.0 if release == "2b" else 1.0)
    assert scheduler["_class_name"] == f"CogVideoX{'DDIM' if release == '2b' else 'DPM'}Scheduler"
    # Nothing is left beside the output.
    assert [found.name for found in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_import_of_a_file_samples_and_trains_like_another(monkeypatch, tmp_path):
    monkeypatch.setitem(PARTS, "transformer", KIND)
    expected = weights(I2V)
    path = write(tmp_path / "model.safetensors", as_original(expected), "model.diffusion_model.")
    run("import", "--source", path, "--output", tmp_path / "ours")
    params, meta = load_transformer(tmp_path / "ours")
    for name, tensor in their_tensors(on_host(params), I2V).items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)
    assert meta["config"]["model"] == dataclasses.asdict(I2V)
    assert sampling_schedule(tmp_path / "ours", meta)["sampler"] == "dpm"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["model.safetensors", "ours"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"proj_out.bias": None}, "of 5b_i2v differ proj_out.bias, which is missing: import the folder"),
        ({"proj_out.lora_A": np.ones(2)}, "of 5b_i2v differ proj_out.lora_A, which is unknown"),
        ({"proj_out.bias": np.ones(3)}, r"of 5b_i2v differ proj_out.bias \(3,\) instead of \(16,\)"),
    ],
)
def test_a_file_of_no_release_is_refused(tmp_path, change, words):
    tensors = {name: tensor for name, tensor in (weights(I2V) | change).items() if tensor is not None}
    path, words = write(tmp_path / "model.safetensors", tensors), rf"\(5b_i2v\); {words}"
    with (
        pytest.raises(UserError, match=f"is no released transformer {words}"),
        as_folder(path, tmp_path / "x", [alone("5b_i2v")]),
    ):
        pass


def test_a_file_with_other_parts_is_refused(tmp_path):
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in weights(TINY).items()}
    path = write(tmp_path / "model.safetensors", tensors | {"vae.decoder": np.ones(2), "text_encoders.x": np.ones(2)})
    words = "holds text_encoders, vae beside the transformer"
    with pytest.raises(UserError, match=words), as_folder(path, tmp_path / "x", [KIND]):
        pass
