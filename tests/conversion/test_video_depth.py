import dataclasses
import math

import jax
import numpy as np
import pytest
import torch
import transformers
from flax import traverse_util
from safetensors.torch import save_file

from sr_jax.conversion.rules import expected_shapes, to_theirs
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.conversion.video_depth import params_from_state_dict, position_tables, rules, unused_tensors
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.video_depth import RELEASED, VideoDepthAnything
from tests.models.video_depth_twin import TINY, our_params, random_state_dict

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


def test_without_temporal_modules_it_has_the_size_of_transformers_depth_anything():
    # The defaults of transformers are those of the small model.
    with torch.device("meta"):
        model = transformers.DepthAnythingForDepthEstimation(transformers.DepthAnythingConfig())
    shapes = {name: shape for name, shape in published_shapes("small").items() if "motion_modules" not in name}
    assert sum(map(math.prod, shapes.values())) == sum(parameter.numel() for parameter in model.parameters())


def test_names_and_shapes_are_as_published():
    shapes = published_shapes("small")
    assert {name: shapes.get(name) for name in PUBLISHED} == PUBLISHED


@pytest.fixture(scope="module")
def tensors():
    return random_state_dict()


def test_every_tensor_comes_back_bit_by_bit(tensors):
    params = traverse_util.flatten_dict(our_params(tensors))
    for rule in rules(TINY):
        array = np.asarray(params[rule.target])
        array = array if rule.layer is None else array[rule.layer]
        np.testing.assert_array_equal(to_theirs(array, rule.layout, rule.kernel), tensors[rule.source].numpy())


def test_both_kinds_of_files_hold_the_same(tensors, tmp_path):
    torch.save(tensors, tmp_path / "weights.pth")
    save_file(tensors, tmp_path / "weights.safetensors")
    torch.save({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "half.pth")
    expected = our_params(tensors)
    for file in ("weights.pth", "weights.safetensors"):
        got = params_from_state_dict(TINY, read_state_dict(tmp_path / file))
        jax.tree.map(np.testing.assert_array_equal, got, expected)
    half = read_state_dict(tmp_path / "half.pth")["pretrained.pos_embed"]
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, tensors["pretrained.pos_embed"].numpy(), rtol=1e-2)


def test_what_does_not_belong_is_named(tensors):
    table = next(iter(position_tables(TINY)))
    for name, change, message in [
        ("head.projects.0.bias", None, r"missing: head\.projects\.0\.bias"),
        ("head.strange", torch.zeros(2), r"unexpected: head\.strange"),
        ("pretrained.cls_token", torch.zeros(1, 1, 7), r"pretrained\.cls_token \(1, 1, 7\) instead of \(1, 1, 24\)"),
        (table, 2 * tensors[table], r"pos_encoder\.pe does not hold the 32 sinusoids"),
        ("pretrained.mask_token", torch.zeros(3), r"unexpected: pretrained\.mask_token"),
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


class Harmful:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_bad_files_are_refused_in_one_line_and_nothing_is_run(tmp_path, capsys):
    with pytest.raises(UserError, match="no weights at"):
        read_state_dict(tmp_path / "missing.pth")
    for name, content in [("object.pth", {"a": Harmful()}), ("list.pth", [torch.zeros(1)])]:
        torch.save(content, tmp_path / name)
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    for name in ("object.pth", "list.pth", "damaged.pth", "damaged.safetensors"):
        with pytest.raises(UserError, match="download it again") as error:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(error.value)
    assert "unpickled" not in capsys.readouterr().out
