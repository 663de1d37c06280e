import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.codec import VideoCodec
from sr_jax.demo.fit_teachers import descent
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.fit_teachers.descent import FitSchedule, adamw, minimise
from sr_jax.demo.fit_teachers.round_trip import codec_round_trip
from sr_jax.demo.fit_teachers.small_codec import _standardised, fit_small_codec, start_from
from sr_jax.demo.small_codec.codec import CodecNetworks, SmallVideoCodec
from sr_jax.demo.small_codec.network import SmallCodecConfig
from sr_jax.errors import UserError

SIZE = SmallCodecConfig(
    latent_channels=6,
    temporal_compression_ratio=2,
    spatial_compression_ratio=4,
    width=16,
    encoder_blocks=1,
    decoder_blocks=2,
)
_RATIOS = {name: getattr(SIZE, name) for name in ("temporal_compression_ratio", "spatial_compression_ratio")}


def discs(seed, count, frames=5, height=16, width=12):
    """Discs with hard edges that move: what a linear codec blurs."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    clips = []
    for _ in range(count):
        cy, cx, vy, vx, radius = rng.uniform([4, 3, -1, -1, 2], [12, 9, 1, 1, 5])
        inside = np.hypot(y - cy - vy * t, x - cx - vx * t) < radius
        colours = rng.uniform(0, 255, (2, 3))
        clips.append(np.where(inside[..., None], *colours).astype(np.uint8))
    return np.stack(clips)


@pytest.fixture(scope="module")
def codec():
    params = {
        name: jax.jit(network.init)(jax.random.key(number))
        for number, (name, network) in enumerate(CodecNetworks.of(SIZE)._asdict().items())
    }
    # Fresh networks add nothing to their linear part: give every map that starts at 0 something to say.
    params = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    return SmallVideoCodec(SIZE, params, "none")


def test_it_starts_as_the_linear_codec():
    clips = discs(0, 20)
    linear = fit_linear_codec([(1.0, clips)], latent_channels=SIZE.latent_channels, **_RATIOS)
    small = SmallVideoCodec(SIZE, start_from(linear, CodecNetworks.of(SIZE), jax.random.key(0)), "none")
    video = jnp.asarray(clips[:3], jnp.float32) / 127.5 - 1
    latents, deviations = small.encode(video)
    np.testing.assert_allclose(latents, linear.encode(video)[0], atol=2e-5)
    np.testing.assert_array_equal(deviations, 0)
    np.testing.assert_allclose(small.decode(latents), linear.decode(latents), atol=2e-5)


def test_it_is_a_codec_of_these_sizes(codec):
    assert isinstance(codec, VideoCodec)
    assert (codec.latent_channels, codec.temporal_compression_ratio, codec.spatial_compression_ratio) == (6, 2, 4)
    assert codec.latent_frames(5) == 3
    with pytest.raises(UserError, match="a clip of 6 frames does not fit the codec: use 5 or 7"):
        codec.encode(jnp.zeros((1, 6, 16, 12, 3)))
    with pytest.raises(UserError, match="must be multiples of 4"):
        codec.encode(jnp.zeros((1, 5, 16, 10, 3)))
    latents = np.random.default_rng(0).normal(size=(6, 3, 4, 3, 6)).astype(np.float32)
    np.testing.assert_allclose(codec.decode_to_host(latents), codec.decode(jnp.asarray(latents)), atol=1e-5)


@pytest.mark.parametrize("frames", [3, 9, 19])
def test_a_long_clip_is_decoded_in_pieces(codec, frames):
    latents = np.random.default_rng(0).normal(size=(2, frames, 4, 3, 6)).astype(np.float32)
    pieces = list(codec.decode_pieces(latents))
    assert len(pieces) == -(-frames // 8) and all(isinstance(piece, np.ndarray) for piece in pieces)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), codec.decode(jnp.asarray(latents)), atol=1e-5)


@pytest.mark.parametrize("frame, latent", [(0, 0), (1, 1), (3, 2)])
def test_nothing_depends_on_later_frames(codec, frame, latent):
    video = np.random.default_rng(0).uniform(-1, 1, (1, 5, 16, 12, 3)).astype(np.float32)
    changed = video.copy()
    changed[:, frame:] *= -0.5
    before, after = (np.asarray(codec.encode(jnp.asarray(clip))[0]) for clip in (video, changed))
    np.testing.assert_allclose(before[:, :latent], after[:, :latent], atol=1e-5)
    assert np.abs(before[:, latent] - after[:, latent]).min() < np.abs(before[:, latent] - after[:, latent]).max()
    decoded, other = (np.asarray(codec.decode(jnp.asarray(latents))) for latents in (before, after))
    first = 0 if latent == 0 else 2 * latent - 1
    np.testing.assert_allclose(decoded[:, :first], other[:, :first], atol=1e-5)
    assert np.abs(decoded[:, first] - other[:, first]).max() > 1e-3


def test_an_image_is_the_first_frame_of_a_video(codec):
    video = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, 5, 16, 12, 3)), jnp.float32)
    image = codec.encode_image(video[:, 0], jax.random.key(0))
    np.testing.assert_allclose(image, codec.encode(video)[0][:, :1], atol=1e-5)


def test_a_file_holds_it_in_float16(codec, tmp_path):
    path = tmp_path / "new" / "codec.safetensors"
    codec.save(path)
    loaded = SmallVideoCodec.load(path)
    assert loaded.config == SIZE
    for ours, theirs in zip(jax.tree.leaves(codec.params), jax.tree.leaves(loaded.params), strict=True):
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(theirs, np.asarray(ours).astype(np.float16))
    dataclasses.replace(codec, params=jax.tree.map(lambda leaf: 1.01 * leaf, codec.params)).save(path)
    assert SmallVideoCodec.load(path).weight_hash != loaded.weight_hash
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a network of SmallCodecConfig"):
        SmallVideoCodec.load(path)


def test_fitting_beats_the_linear_codec():
    clips = discs(1, 60)
    linear = fit_linear_codec([(1.0, clips)], latent_channels=SIZE.latent_channels, **_RATIOS)
    videos = [(1.0, clips), (0.5, 255 - clips)]
    size = dataclasses.replace(SIZE, decoder_blocks=1)
    params = fit_small_codec(videos, size, FitSchedule(200, 6, 0.03), latent_noise=0.05, seed=0, progress_file=None)
    small = SmallVideoCodec(size, params, "none")
    errors = {
        name: np.mean((codec_round_trip(clips, codec, latent_noise=0.0, seed=0).astype(float) - clips) ** 2)
        for name, codec in (("linear", linear), ("small", small))
    }
    assert errors["small"] < 0.97 * errors["linear"]
    latents = np.concatenate([small.encode(jnp.asarray(half, jnp.float32) / 127.5 - 1)[0] for _, half in videos])
    weights = np.repeat([2 / 3, 1 / 3], 60) / 60
    means = np.einsum("n,ntyxc->c", weights, latents) / np.prod(latents.shape[1:4])
    np.testing.assert_allclose(means, 0, atol=0.05)
    assert np.einsum("n,ntyxc->", weights, latents**2) / np.prod(latents.shape[1:]) == pytest.approx(1, abs=0.05)


def test_its_latents_are_made_standard_without_changing_what_it_decodes(codec):
    videos = [(1.0, discs(3, 10)), (0.5, discs(4, 10))]
    networks = CodecNetworks.of(SIZE)
    standard = dataclasses.replace(codec, params=_standardised(codec.params, networks, videos))
    video = jnp.asarray(videos[0][1], jnp.float32) / 127.5 - 1
    before, after = codec.encode(video)[0], standard.encode(video)[0]
    scales = np.std(before, axis=(0, 1, 2, 3)) / np.std(after, axis=(0, 1, 2, 3))
    np.testing.assert_allclose(scales, scales[0], rtol=1e-3)
    assert abs(scales[0] - 1) > 0.01
    difference = np.asarray(before / scales[0] - after).reshape(-1, SIZE.latent_channels)
    np.testing.assert_allclose(difference.std(axis=0), 0, atol=1e-3)
    assert np.abs(difference.mean(axis=0)).max() > 0.1
    np.testing.assert_allclose(standard.decode(after), codec.decode(before), atol=1e-3)


def test_a_stopped_descent_ends_as_one_that_was_not(tmp_path, monkeypatch):
    def loss(params, data, key, progress):
        return jnp.sum((params["x"] - data * (1 + 0.1 * jax.random.normal(key) + progress)) ** 2)

    def descend(progress_file):
        schedule = FitSchedule(30, 1, 0.1)
        start = {"x": jnp.zeros(3)}
        options = {"bar_line": 0, "progress_file": progress_file}
        return minimise(loss, start, jnp.arange(3.0), schedule, adamw(schedule), jax.random.key(0), "test", **options)

    whole = descend(None)["x"]
    path = tmp_path / "progress" / "x.npz"
    written = []

    def write_and_stop(*what):
        write(*what)
        written.append(what)
        if len(written) == 12:
            raise KeyboardInterrupt

    write = descent._write
    monkeypatch.setattr(descent, "_SECONDS_BETWEEN_SAVES", -1)
    monkeypatch.setattr(descent, "_write", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        descend(path)
    monkeypatch.undo()
    with np.load(path) as stored:
        assert stored["done"] == 12
    np.testing.assert_array_equal(descend(path)["x"], whole)
    with pytest.raises(UserError, match="of a network of another size"):
        minimise(
            loss,
            {"x": jnp.zeros(4)},
            jnp.arange(4.0),
            FitSchedule(30, 1, 0.1),
            adamw(FitSchedule(30, 1, 0.1)),
            jax.random.key(0),
            "test",
            bar_line=0,
            progress_file=path,
        )
