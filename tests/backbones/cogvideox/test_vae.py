import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.codec import VideoCodec
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_network import RELEASED
from sr_jax.errors import UserError
from tests.comparison import relative_error
from tests.models import tiny_vae
from tests.models.tiny_vae import DEEP, SMALL, decoding_error, some_values

OPTIONS = {"small": SMALL, "deep": DEEP}


@pytest.fixture(scope="module")
def codecs(original):
    """A codec by name; each compiles its functions once."""
    return {name: tiny_vae.our_vae(original, options) for name, options in OPTIONS.items()}


SHAPES = [("small", 3, 1, 3, 5), ("small", 3, 17, 5, 3), ("small", 1, 9, 4, 3), ("deep", 1, 9, 3, 5)]
"""Codec, batch, video frames, latent rows and columns."""


@pytest.mark.parametrize(("name", "batch", "frames", "rows", "columns"), SHAPES)
def test_encoding_is_that_of_diffusers(original, codecs, name, batch, frames, rows, columns):
    ours = codecs[name]
    ratio = ours.spatial_compression_ratio
    video = tiny_vae.video(batch, frames, ratio * rows, ratio * columns)
    references = original("vae").encode(OPTIONS[name], video)
    for mine, reference in zip(ours.encode(jnp.asarray(video)), references, strict=True):
        assert mine.dtype == jnp.float32
        assert relative_error(mine, reference) < 1e-5


@pytest.mark.parametrize(("name", "batch", "frames", "rows", "columns"), SHAPES)
def test_decoding_is_that_of_diffusers(original, codecs, name, batch, frames, rows, columns):
    latents = tiny_vae.latents(batch, 1 + (frames - 1) // 4, rows, columns)
    reference = original("vae").decode(OPTIONS[name], latents)
    assert reference[0][1] == frames
    assert decoding_error(codecs[name].decode(jnp.asarray(latents)), reference) < 1e-5


def test_decoding_to_host_memory_gives_the_same_video(codecs):
    ours = codecs["small"]
    latents = tiny_vae.latents(1, 5, 5, 3)
    streamed = ours.decode_to_host(latents)
    assert isinstance(streamed, np.ndarray)
    assert relative_error(streamed, ours.decode(jnp.asarray(latents))) < 1e-6


def test_decoding_to_host_memory_holds_one_batch_of_frames(codecs, monkeypatch):
    ours = codecs["small"]
    step, in_use = ours._decode_step, []

    def watched(*args):
        in_use.append(sum(array.nbytes for array in jax.live_arrays()))
        return step(*args)

    monkeypatch.setattr(ours, "_decode_step", watched)
    ours.decode_to_host(tiny_vae.latents(1, 13, 5, 3))
    # The first two calls have no cache, and the output of a longer batch, behind them.
    assert len(in_use) == 6
    assert len(set(in_use[2:])) == 1


def test_the_first_frame_alone_does_not_cost_memory(codecs):
    ours = codecs["small"]
    odd, even = (jnp.asarray(tiny_vae.latents(1, frames, 20, 12)) for frames in (3, 2))
    _, cache = jax.eval_shape(ours._decode_step, ours.params, even, None)
    steps = [ours._decode_step.lower(ours.params, *inputs).compile() for inputs in ((odd, None), (even, cache))]
    first, later = (step.memory_analysis().temp_size_in_bytes for step in steps)
    # 9 video frames against 8.
    assert first < 1.2 * later


def test_an_even_number_of_latent_frames_is_that_of_diffusers(original, codecs):
    latents = tiny_vae.latents(1, 4, 5, 3)
    reference = original("vae").decode(SMALL, latents)
    assert decoding_error(codecs["small"].decode_to_host(latents), reference) < 1e-5


# 25 frames are three batches, of which the last two give up the cache that they were given.
@pytest.mark.parametrize(("batch", "frames"), [(3, 1), (1, 9), (1, 25)])
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_gradients_are_those_of_diffusers(original, codecs, way, batch, frames):
    """With respect to the input and every weight."""
    codec = codecs["small"]
    video, latents = tiny_vae.video(batch, frames, 12, 20), tiny_vae.latents(batch, 1 + (frames - 1) // 4, 3, 5)
    x, shape = {"encode": (video, (2, *latents.shape)), "decode": (latents, video.shape)}[way]
    weights = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    grads, x_grad = original("vae").gradients(SMALL, way, x, weights)
    shapes = original("vae").shapes(SMALL)
    everything = {name: grads.get(name, np.zeros(shape, np.float32)) for name, shape in shapes.items()}
    expected = tiny_vae.our_params(codec.config, everything), x_grad

    def loss(params, x):
        run = getattr(CogVideoXVAE(codec.config, params), way)
        ours = jnp.stack(run(x)) if way == "encode" else run(x)
        return jnp.sum(ours * weights)

    got = jax.grad(loss, argnums=(0, 1))(codec.params, jnp.asarray(x))
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))

    def check(path, ours, theirs):
        # A bias before a norm has a gradient of 0 but for rounding: hence the second term.
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max() + 1e-6 * largest, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(check, got, expected)
    assert {name.split(".")[0] for name in grads} == {f"{way}r"}


def test_bfloat16_stays_close(original, codecs):
    exact = codecs["small"]
    ours = CogVideoXVAE(exact.config, exact.params, dtype=jnp.bfloat16)
    video, latents = tiny_vae.video(1, 9, 12, 20), tiny_vae.latents(1, 3, 3, 5)
    mean, decoded = ours.encode(jnp.asarray(video))[0], ours.decode(jnp.asarray(latents))
    assert mean.dtype == decoded.dtype == jnp.float32
    pairs = [
        (mean, original("vae").encode(SMALL, video)[0]),
        (some_values(decoded), original("vae").decode(SMALL, latents)[1]),
    ]
    for mine, reference in pairs:
        error = np.linalg.norm(mine - reference) / np.linalg.norm(reference)
        # Not 0 either: the compute type must have had an effect.
        assert 1e-4 < error < 2e-2


def test_it_is_a_codec_of_the_released_sizes(codecs):
    ours = codecs["deep"]
    assert isinstance(ours, VideoCodec)
    sizes = (ours.temporal_compression_ratio, ours.spatial_compression_ratio, ours.latent_channels)
    assert sizes == (4, 8, 4)
    assert {name: config.scaling_factor for name, config in RELEASED.items()} == {
        "2b": 1.15258426,
        "5b": 0.7,
        "5b_i2v": 0.7,
        "1_5_5b": 0.7,
        "1_5_5b_i2v": 0.7,
    }


@pytest.mark.parametrize("invert", [False, True])
def test_a_conditioning_image_is_a_scaled_draw(original, codecs, invert):
    ours = codecs["small"]
    ours = CogVideoXVAE(dataclasses.replace(ours.config, invert_scale_latents=invert), ours.params)
    image, key = tiny_vae.video(3, 1, 12, 20), jax.random.key(3)
    mean, std = (value / 0.7 for value in original("vae").encode(SMALL, image))
    draw = mean + std * np.asarray(jax.random.normal(key, mean.shape))
    expected = draw / 0.7 if invert else draw * 0.7
    assert relative_error(ours.encode_image(jnp.asarray(image[:, 0]), key), expected) < 1e-5


def test_the_deviation_is_limited_as_in_diffusers(codecs):
    exact = codecs["small"]
    kernel, channels = exact.params["encoder"]["conv_out"]["conv"]["kernel"], exact.latent_channels
    bias = jnp.concatenate([jnp.zeros(channels), jnp.full(channels, 50.0)])
    params = exact.params | {
        "encoder": exact.params["encoder"] | {"conv_out": {"conv": {"kernel": 0 * kernel, "bias": bias}}}
    }
    _, std = CogVideoXVAE(exact.config, params).encode(jnp.zeros((3, 1, 12, 20, 3)))
    np.testing.assert_allclose(std, 0.7 * np.exp(10.0), rtol=1e-5)


def test_the_hash_tells_weights_and_configs_apart(codecs):
    ours = codecs["small"]
    assert ours.weight_hash == CogVideoXVAE(ours.config, jax.device_get(ours.params)).weight_hash
    assert len(ours.weight_hash) == 16
    touched = jax.tree.map(lambda leaf: leaf, ours.params)
    touched["decoder"]["conv_out"]["conv"]["bias"] += 1e-3
    other_weights = CogVideoXVAE(ours.config, touched)
    other_config = CogVideoXVAE(dataclasses.replace(ours.config, scaling_factor=0.8), ours.params)
    assert len({ours.weight_hash, other_weights.weight_hash, other_config.weight_hash}) == 3


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (8, 2), (9, 3), (16, 4), (17, 5)])
def test_clips_have_the_lengths_that_come_back(codecs, frames, expected):
    ours = codecs["small"]
    mean, _ = jax.eval_shape(ours.encode, jax.ShapeDtypeStruct((1, frames, 4, 4, 3), jnp.float32))
    assert ours.latent_frames(frames) == mean.shape[1] == expected
    assert jax.eval_shape(ours.decode, mean).shape[1] == frames


@pytest.mark.parametrize("frames", [0, 2, 5, 7, 10, 13, 15, 21, 85])
def test_other_lengths_are_refused_and_the_next_ones_named(codecs, frames):
    ours = codecs["small"]
    shorter = max(length for length in range(max(frames, 2)) if length % 8 == 1)
    longer = min(length for length in range(frames, frames + 9) if length % 8 == 0 and length)
    with pytest.raises(UserError, match=f"{frames} frames .* use {shorter} or {longer} "):
        ours.latent_frames(frames)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 13, 8, 8, 3), "a clip of 13 frames does not fit .* use 9 or 16 .1 plus a multiple of 8"),
        ((1, 0, 8, 8, 3), "a clip of 0 frames"),
        ((1, 9, 8, 10, 3), "frames of 8x10 pixels do not fit .* multiples of 4"),
        ((1, 9, 6, 8, 3), "frames of 6x8 pixels"),
    ],
)
def test_videos_that_do_not_fit_are_told(codecs, shape, message):
    with pytest.raises(UserError, match=message):
        codecs["small"].encode(jnp.zeros(shape))


def test_what_the_decoder_does_not_make_is_told_and_no_memory_that_it_found(codecs, monkeypatch):
    ours = codecs["small"]
    monkeypatch.setattr(ours, "temporal_compression_ratio", 8)
    with pytest.raises(ValueError, match=r"made 1728 of the 3264 values of a video \(1, 17, 8, 8, 3\)"):
        ours.decode_to_host(np.zeros((1, 3, 2, 2, 4), np.float32))
