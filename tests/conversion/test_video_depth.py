import dataclasses
import math
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from sr_jax.conversion.rules import expected_shapes, to_theirs
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.conversion.video_depth import params_from_state_dict, position_tables, rules, unused_tensors
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.video_depth import RELEASED, VideoDepthAnything
from tests.models.tiny_video_depth import SIZES, TINY, our_params, save, shapes, weights

# Some tensors of each part, with their shapes in the small model, as the published code builds them.
PUBLISHED = {
    "pretrained.cls_token": (1, 1, 384),
    "pretrained.pos_embed": (1, 1370, 384),
    "pretrained.mask_token": (1, 384),
    "pretrained.patch_embed.proj.weight": (384, 3, 14, 14),
    "pretrained.blocks.11.attn.qkv.weight": (1152, 384),
    "pretrained.blocks.0.attn.proj.bias": (384,),
    "pretrained.blocks.5.ls1.gamma": (384,),
    "pretrained.blocks.5.mlp.fc2.weight": (384, 1536),
    "pretrained.norm.bias": (384,),
    "head.projects.0.weight": (48, 384, 1, 1),
    "head.resize_layers.0.weight": (48, 48, 4, 4),
    "head.resize_layers.1.bias": (96,),
    "head.resize_layers.3.weight": (384, 384, 3, 3),
    "head.scratch.layer1_rn.weight": (64, 48, 3, 3),
    "head.scratch.layer4_rn.weight": (64, 384, 3, 3),
    "head.scratch.refinenet1.out_conv.weight": (64, 64, 1, 1),
    "head.scratch.refinenet4.resConfUnit1.conv1.weight": (64, 64, 3, 3),
    "head.scratch.refinenet3.resConfUnit2.conv2.bias": (64,),
    "head.scratch.output_conv1.weight": (32, 64, 3, 3),
    "head.scratch.output_conv2.0.weight": (32, 32, 3, 3),
    "head.scratch.output_conv2.2.weight": (1, 32, 1, 1),
    "head.motion_modules.0.temporal_transformer.norm.weight": (192,),
    "head.motion_modules.1.temporal_transformer.proj_in.weight": (384, 384),
    "head.motion_modules.2.temporal_transformer.proj_out.bias": (64,),
    "head.motion_modules.3.temporal_transformer.transformer_blocks.0.norms.1.weight": (64,),
    "head.motion_modules.3.temporal_transformer.transformer_blocks.0.ff_norm.bias": (64,),
    "head.motion_modules.0.temporal_transformer.transformer_blocks.0.ff.net.0.proj.weight": (1536, 192),
    "head.motion_modules.0.temporal_transformer.transformer_blocks.0.ff.net.2.weight": (192, 768),
    "head.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_q.weight": (192, 192),
    "head.motion_modules.1.temporal_transformer.transformer_blocks.0.attention_blocks.0.to_out.0.bias": (384,),
}
NUM_TENSORS = {
    # A transformer block has 14 tensors; the backbone 7 more. A level of the head has 2 tensors of its projection, one
    # of `layer_rn` and 10 of its fusion block; the resizing layers have 6, the output 6, a temporal module 26.
    "small": 12 * 14 + 7 + 4 * 13 + 6 + 6 + 4 * 26,
    "base": 12 * 14 + 7 + 4 * 13 + 6 + 6 + 4 * 26,
    "large": 24 * 14 + 7 + 4 * 13 + 6 + 6 + 4 * 26,
}


def published_shapes(size: str) -> dict[str, tuple[int, ...]]:
    network = Functional(lambda rngs: VideoDepthAnything(RELEASED[size], rngs=rngs))
    return expected_shapes(rules(RELEASED[size]), network.abstract_params()) | unused_tensors(RELEASED[size])


@pytest.mark.parametrize(("size", "millions"), [("small", 28.4), ("base", 113.1), ("large", 381.8)])
def test_full_sizes_are_as_published(size, millions):
    shapes = published_shapes(size)
    # The published numbers leave out what is no layer (tokens and learned positions) and layers that are never run.
    tokens = ("pretrained.cls_token", "pretrained.pos_embed")
    counted = [shape for name, shape in shapes.items() if name not in (*tokens, *unused_tensors(RELEASED[size]))]
    assert sum(map(math.prod, counted)) / 1e6 == pytest.approx(millions, abs=0.05)
    assert len(shapes) == NUM_TENSORS[size]
    network = Functional(lambda rngs: VideoDepthAnything(RELEASED[size], rngs=rngs))
    assert {rule.target for rule in rules(RELEASED[size])} == traverse_util.flatten_dict(
        network.abstract_params()
    ).keys()


def test_without_temporal_modules_it_has_the_size_of_transformers_depth_anything(original):
    shapes = {name: shape for name, shape in published_shapes("small").items() if "motion_modules" not in name}
    assert sum(map(math.prod, shapes.values())) == original("depth_anything").num_weights()


def test_names_and_shapes_are_as_published():
    shapes = published_shapes("small")
    assert {name: shapes.get(name) for name in PUBLISHED} == PUBLISHED


def test_the_tiny_network_has_the_same_names_and_shapes():
    small = {"hidden_size": 384, "num_layers": 12, "image_size": 518, "features": 64}
    assert shapes(small | {"out_channels": (48, 96, 192, 384)}) == published_shapes("small")


@pytest.fixture(scope="module")
def tensors():
    return weights(SIZES, 0)


def test_every_tensor_comes_back_bit_by_bit(tensors):
    params = traverse_util.flatten_dict(our_params(tensors))
    for rule in rules(TINY):
        array = np.asarray(params[rule.target])
        array = array if rule.layer is None else array[rule.layer]
        np.testing.assert_array_equal(to_theirs(array, rule.layout, rule.kernel), tensors[rule.source])


FILES = ["weights.safetensors", pytest.param("weights.pth", marks=pytest.mark.needs_torch)]


@pytest.mark.parametrize("name", FILES)
def test_both_kinds_of_files_hold_the_same(tensors, tmp_path, name):
    got = params_from_state_dict(TINY, read_state_dict(save(tensors, tmp_path / name)))
    jax.tree.map(np.testing.assert_array_equal, got, our_params(tensors))


@pytest.mark.parametrize("name", FILES)
def test_files_in_bfloat16_are_read_as_float32(tensors, tmp_path, name):
    half = read_state_dict(save(tensors, tmp_path / name, half=True))
    for key, tensor in tensors.items():
        assert half[key].dtype == np.float32
        np.testing.assert_array_equal(half[key], tensor.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_a_file_of_torch_save_needs_pytorch(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"something")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"weights\.pth needs PyTorch to be read: .* or save it as \.safetensors"):
        read_state_dict(tmp_path / "weights.pth")


def test_what_does_not_belong_is_named(tensors):
    table = next(iter(position_tables(TINY)))
    for name, change, message in [
        ("head.projects.0.bias", None, r"missing: head\.projects\.0\.bias"),
        ("head.strange", np.zeros(2, np.float32), r"unexpected: head\.strange"),
        (
            "pretrained.cls_token",
            np.zeros((1, 1, 7), np.float32),
            r"pretrained\.cls_token \(1, 1, 7\) instead of \(1, 1, 24\)",
        ),
        (table, 2 * tensors[table], r"pos_encoder\.pe does not hold the 32 sinusoids"),
        ("pretrained.mask_token", np.zeros(3, np.float32), r"unexpected: pretrained\.mask_token"),
    ]:
        changed = dict(tensors)
        if change is None:
            del changed[name]
        else:
            changed[name] = change
        with pytest.raises(UserError, match=message):
            our_params(changed)


def test_weights_of_another_size_are_refused(tensors):
    with pytest.raises(UserError, match="instead of"):
        our_params(tensors, dataclasses.replace(TINY, features=64))


def test_bad_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no weights at"):
        read_state_dict(tmp_path / "missing.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="download it again") as error:
        read_state_dict(tmp_path / "damaged.safetensors")
    assert "\n" not in str(error.value)


class Harmful:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.needs_torch
def test_bad_files_of_torch_save_are_refused_in_one_line_and_nothing_is_run(tmp_path, capsys):
    import torch

    for name, content in [("object.pth", {"a": Harmful()}), ("list.pth", [torch.zeros(1)])]:
        torch.save(content, tmp_path / name)
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    for name in ("object.pth", "list.pth", "damaged.pth"):
        with pytest.raises(UserError, match="download it again") as error:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(error.value)
    assert "unpickled" not in capsys.readouterr().out
