"""Sampling on a mesh: what one device gives, from weights of which each device has its part, in the compute type."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.base import ClipSize
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.checkpoints.networks import transformer_network
from sr_jax.configs.sample import get_config
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.generation.assembly import make_pipeline, sampling_mesh
from sr_jax.generation.pipeline import ImageToVideo
from sr_jax.generation.sampler import Denoiser, SamplingSettings, clip_key, sampling_function
from sr_jax.parallel.lazy import LazyArray
from tests.comparison import relative_error
from tests.evaluation.fakes import LetterText, PatchCodec

SIZES = CogVideoXConfig(
    num_attention_heads=2, attention_head_dim=16, num_layers=1, in_channels=384, out_channels=192, time_embed_dim=12,
    text_embed_dim=12, max_text_seq_length=4, sample_height=4, sample_width=4, sample_frames=13,
)  # fmt: skip
TRAINED = {"backbone": "cogvideox", "model": dataclasses.asdict(SIZES), "schedule": {}, "dtype": "float32"}
SETTINGS = SamplingSettings("dpm", 2, 3.0, "none")
NETWORK = transformer_network(CogVideoX(SIZES))
READ = []


@pytest.fixture(scope="module")
def params():
    """Every one random: fresh gates would leave attention out."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: random.normal(0, 0.2, leaf.shape).astype(np.float32), NETWORK.abstract_params())


def _pipeline(params, text=None, **changes) -> ImageToVideo:
    config = get_config("cogvideox")
    config.update(num_inference_steps=2, guidance_scale=3.0, sampler="dpm", dynamic_guidance="none", batch_size=2)
    config.mesh.update(fsdp=2, context=2, tensor=2)
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (config[section] if section else config)[key] = value

    def lazy(array):
        def read(index):
            READ.append(array[index].nbytes)
            return array[index]

        return LazyArray(array.shape, array.dtype, read)

    clip = ClipSize(13, 16, 16, 8.0)
    return make_pipeline(config, jax.tree.map(lazy, params), TRAINED, PatchCodec(), text or LetterText(), clip)


def _inputs():
    random = np.random.default_rng(1)
    rows = [(2, 1, 4, 4, 192), (2, 4, 12), (2, 4, 12)]
    keys = jnp.stack([clip_key(0, "a"), clip_key(0, "b")])
    return keys, *(random.normal(size=shape).astype(np.float32) for shape in rows)


def test_eight_devices_sample_what_one_does(params):
    got = _pipeline(params).sample(*_inputs())
    denoiser = Denoiser(CogVideoX(SIZES), NETWORK, VPrediction(), SETTINGS)
    expected = jax.jit(sampling_function(denoiser, num_frames=4))(params, *_inputs())
    assert got.shape == (2, 4, 4, 4, 192)
    assert relative_error(got, expected) < 1e-4


def test_a_mesh_of_fewer_devices_takes_the_first_ones():
    config = get_config("cogvideox")
    assert dict(sampling_mesh(config, jax.devices()).shape) == {"data": 1, "fsdp": 1, "context": 8, "tensor": 1}
    config.mesh.context, config.mesh.tensor = 2, 2
    assert sampling_mesh(config, jax.devices()).devices.ravel().tolist() == jax.devices()[:4]


def test_weights_come_when_they_are_used_in_the_compute_type_and_in_parts(params):
    READ.clear()
    weights = _pipeline(params, dtype="bfloat16").transformer
    assert not READ
    placed = weights.tree
    total = sum(leaf.size for leaf in jax.tree.leaves(placed))
    assert {leaf.dtype for leaf in jax.tree.leaves(placed)} == {jnp.dtype(jnp.bfloat16)}
    # Read once, in the type of the file.
    assert sum(READ) == 4 * total
    held = dict.fromkeys(jax.devices(), 0)
    for leaf in jax.tree.leaves(placed):
        for shard in leaf.addressable_shards:
            held[shard.device] += shard.data.nbytes
    # Kernels are an eighth or a fourth, and what belongs to no split axis is small.
    assert len(held) == 8 and max(held.values()) < 0.35 * 2 * total
    kernel = placed["transformer_blocks"]["attn1"]["to_q"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (1, 8, 16)
    weights.release()
    del placed, kernel
    assert sum(READ) == 4 * total
    np.testing.assert_array_equal(
        weights.tree["proj_out"]["bias"].astype(np.float32), jnp.bfloat16(params["proj_out"]["bias"])
    )


def test_text_encoder_and_autoencoder_leave_the_device_when_they_are_done(params, monkeypatch):
    happened = []

    def watch(owner, name, word):
        real = getattr(owner, name)

        def watched(*args, **kwargs):
            happened.append(word)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(LetterText, "__call__", "embed")
    watch(LetterText, "release", "text leaves")
    watch(PatchCodec, "encode_image", "encode")
    watch(PatchCodec, "decode_to_host", "decode")
    watch(PatchCodec, "release", "codec leaves")
    options = {"mesh.fsdp": 1, "mesh.context": 8, "mesh.tensor": 1, "batch_size": 1}
    for stays in (True, False):
        happened.clear()
        pipeline = dataclasses.replace(
            _pipeline(params, **options, transformer_stays=stays),
            sampler=lambda weights, *_: np.zeros((1, 4, 4, 4, 192), np.float32),
        )
        watch(pipeline.transformer, "_place", "transformer comes")
        watch(pipeline.transformer, "release", "transformer leaves")
        pipeline(np.zeros((16, 16, 3), np.uint8), "a")
        expected = ["embed", "text leaves", "encode", "codec leaves", "transformer comes", "transformer leaves"]
        assert happened == [*expected[: 5 if stays else 6], "decode", "codec leaves"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 1}, r"config\.batch_size is 1: it must be a multiple of data x fsdp = 2"),
        ({"mesh.fsdp": 3}, r"config\.mesh asks for .* which does not fit the 8 devices there are"),
        ({"sharding.mlps": "fsdp"}, r"config\.sharding names 'mlps'"),
        ({"long.frames": 13}, "13 frames are no more than the 13 that the model makes at once: leave out --frames"),
        ({"long.frames": 15}, "a clip of 15 frames does not fit the codec: use 13 or 17"),
        ({"long.frames": 25, "long.way": "continuation"}, r"data and fsdp cannot share: use config\.mesh\.context"),
        ({"long.frames": 25, "long.overlap": 0.9}, r"use a smaller config\.long\.overlap"),
    ],
)
def test_what_does_not_fit_is_refused(params, changes, words):
    with pytest.raises(UserError, match=words):
        _pipeline(params, **changes)
