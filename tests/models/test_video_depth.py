import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from sr_jax.models.dpt import resize
from sr_jax.models.functional import Functional
from sr_jax.models.temporal_attention import TemporalModule, frame_positions
from sr_jax.models.video_depth import RELEASED, VideoDepthAnything
from sr_jax.parallel import mesh, sharding
from tests.models.video_depth_twin import (
    NETWORK,
    TINY,
    Reference,
    our_params,
    random_state_dict,
    relative_error,
    sinusoids,
)


@pytest.fixture(scope="module")
def tensors():
    return random_state_dict()


@pytest.fixture(scope="module")
def params(tensors):
    return our_params(tensors)


def frames(*shape):
    return np.random.default_rng(0).standard_normal((*shape, 3)).astype(np.float32)


# The last has more frames than one step, in a number that steps divide; the first needs no new positions.
@pytest.mark.parametrize("shape", [(3, 70, 70), (8, 56, 42)])
def test_the_whole_network_matches_the_description(tensors, params, shape):
    clip = frames(*shape)
    expected = Reference(tensors)(clip)
    assert (expected > 0).mean() > 0.2
    got = jax.jit(NETWORK.apply)(params, clip[None])
    assert got.dtype == jnp.float32
    assert relative_error(got[0], expected) < 1e-4


def test_clips_do_not_see_each_other(params):
    clips = frames(2, 2, 28, 14)
    apply = jax.jit(NETWORK.apply)
    together = apply(params, clips)
    assert relative_error(together[1], apply(params, clips[::-1])[0]) < 1e-5


@pytest.mark.parametrize(("width", "frames_", "size"), [(32, 32, (2, 3)), (64, 7, (3, 1))])
def test_temporal_modules_match_the_description(tensors, params, width, frames_, size):
    index = {32: 2, 64: 1}[width]
    x = np.random.default_rng(1).standard_normal((frames_, width, *size)).astype(np.float32)
    expected = Reference(tensors).temporal(index, torch.from_numpy(x)).numpy()
    module = Functional(lambda rngs: TemporalModule(width, rngs=rngs, dtype=jnp.float32))
    got = jax.jit(module.apply)(params["head"]["motion_modules"][index], x.transpose(0, 2, 3, 1)[None])
    assert relative_error(got[0], expected.transpose(0, 2, 3, 1)) < 1e-5
    assert relative_error(got[0], x.transpose(0, 2, 3, 1)) > 0.1


def test_positions_are_the_published_sinusoids():
    np.testing.assert_allclose(frame_positions(32, 24), sinusoids(32, 24).numpy(), atol=1e-6)


def test_a_new_temporal_module_changes_nothing():
    module = Functional(lambda rngs: TemporalModule(32, rngs=rngs, dtype=jnp.float32))
    x = jax.random.normal(jax.random.key(1), (1, 3, 2, 2, 32))
    np.testing.assert_array_equal(jax.jit(module.apply)(module.init(jax.random.key(0)), x), x)


# transformers' names of the head's modules and those of the published state dict.
HEAD_NAMES = {
    "head.conv1": "scratch.output_conv1",
    "head.conv2": "scratch.output_conv2.0",
    "head.conv3": "scratch.output_conv2.2",
    **{f"neck.reassemble_stage.layers.{n}.projection": f"projects.{n}" for n in range(4)},
    **{f"neck.reassemble_stage.layers.{n}.resize": f"resize_layers.{n}" for n in (0, 1, 3)},
    **{f"neck.convs.{n}": f"scratch.layer{n + 1}_rn" for n in range(4)},
    **{f"neck.fusion_stage.layers.{n}.projection": f"scratch.refinenet{4 - n}.out_conv" for n in range(4)},
    **{
        f"neck.fusion_stage.layers.{n}.residual_layer{unit}.convolution{conv}": (
            f"scratch.refinenet{4 - n}.resConfUnit{unit}.conv{conv}"
        )
        for n in range(4)
        for unit in (1, 2)
        for conv in (1, 2)
    },
}


def depth_anything(tensors) -> transformers.DepthAnythingForDepthEstimation:
    """transformers' network of one frame with the same weights."""
    backbone = TINY.backbone
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(
            hidden_size=backbone.hidden_size,
            num_hidden_layers=backbone.num_layers,
            num_attention_heads=backbone.num_attention_heads,
            image_size=backbone.image_size,
            patch_size=14,
            layer_norm_eps=1e-6,
            out_indices=[tap + 1 for tap in TINY.taps],
            reshape_hidden_states=False,
            apply_layernorm=True,
        ),
        reassemble_hidden_size=backbone.hidden_size,
        neck_hidden_sizes=list(TINY.out_channels),
        fusion_hidden_size=TINY.features,
        head_hidden_size=32,
        patch_size=14,
    )
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    theirs = {}
    for name in model.state_dict():
        module, kind = name.rsplit(".", 1)
        if module in HEAD_NAMES:
            theirs[name] = tensors[f"head.{HEAD_NAMES[module]}.{kind}"]
    for ours, name in {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }.items():
        theirs[f"backbone.{name}"] = tensors[f"pretrained.{ours}"]
    for layer in range(backbone.num_layers):
        ours, name = f"pretrained.blocks.{layer}", f"backbone.encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            for part, values in zip(("q_proj", "k_proj", "v_proj"), tensors[f"{ours}.attn.qkv.{kind}"].chunk(3)):
                theirs[f"{name}.attention.{part}.{kind}"] = values
            theirs[f"{name}.attention.o_proj.{kind}"] = tensors[f"{ours}.attn.proj.{kind}"]
            for module in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                theirs[f"{name}.{module}.{kind}"] = tensors[f"{ours}.{module}.{kind}"]
        for number in (1, 2):
            theirs[f"{name}.layer_scale{number}.lambda1"] = tensors[f"{ours}.ls{number}.gamma"]
    model.load_state_dict(theirs)
    return model


@pytest.mark.parametrize("size", [(70, 70), (42, 84)])
def test_without_temporal_modules_it_is_transformers_depth_anything(size):
    tensors = random_state_dict(seed=1)
    for name, tensor in tensors.items():
        if "motion_modules" in name and "proj_out" in name:
            tensor.zero_()
    config = dataclasses.replace(TINY, backbone=dataclasses.replace(TINY.backbone, interpolate_offset=0.0))
    network = Functional(lambda rngs: VideoDepthAnything(config, rngs=rngs))
    clip = frames(2, *size)
    with torch.no_grad():
        expected = depth_anything(tensors)(torch.from_numpy(clip).permute(0, 3, 1, 2)).predicted_depth.numpy()
    assert (expected > 0).mean() > 0.2
    assert relative_error(jax.jit(network.apply)(our_params(tensors), clip[None])[0], expected) < 1e-4


@pytest.mark.parametrize(("size", "new_size"), [((3, 5), (7, 4)), ((1, 4), (3, 4)), ((4, 6), (1, 12))])
def test_resizing_aligns_corners(size, new_size):
    x = np.random.default_rng(2).standard_normal((2, *size, 3)).astype(np.float32)
    image = torch.from_numpy(x).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(image, new_size, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(resize(jnp.asarray(x), new_size), expected.permute(0, 2, 3, 1).numpy(), atol=1e-6)


def test_bfloat16_is_close(tensors, params):
    half = Functional(lambda rngs: VideoDepthAnything(TINY, rngs=rngs, dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.abstract_params())} == {jnp.dtype(jnp.float32)}
    clip = frames(1, 28, 14)
    expected = Reference(tensors)(clip)
    got = np.asarray(jax.jit(half.apply)(params, clip[None])[0])
    assert 1e-4 < np.linalg.norm(got - expected) / np.linalg.norm(expected) < 5e-2


def test_every_parameter_of_a_full_size_network_has_a_sharding():
    network = Functional(lambda rngs: VideoDepthAnything(RELEASED["large"], rngs=rngs))
    shardings = sharding.param_shardings(
        network.abstract, mesh.make_mesh({"data": 1, "fsdp": 8, "tensor": 1}), sharding.ShardingRules()
    )
    assert shardings["pretrained"]["blocks"]["qkv"]["kernel"].shard_shape((24, 1024, 3072)) == (24, 128, 3072)
