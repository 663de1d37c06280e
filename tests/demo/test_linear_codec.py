import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.codec import VideoCodec
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.linear_codec import LinearVideoCodec, from_patches, to_patches
from sr_jax.errors import UserError


def smooth_clips(seed, count, frames=9, height=16, width=24):
    """Coloured waves that drift: clips that a few components describe well."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    clips = []
    for _ in range(count):
        fx, fy, ft, phase = rng.uniform([-0.3, -0.3, -0.1, 0], [0.3, 0.3, 0.1, 6], (3, 4)).T[..., None, None, None]
        waves = np.sin(fx * x + fy * y + ft * t + phase)
        clips.append(np.moveaxis(127.5 + 100 * waves, 0, -1).astype(np.uint8))
    return np.stack(clips)


@pytest.fixture(scope="module")
def codec():
    return fit(smooth_clips(0, 20), 12)


def fit(clips, channels, temporal=4, spatial=4):
    return fit_linear_codec(
        [(1.0, clips)],
        latent_channels=channels,
        temporal_compression_ratio=temporal,
        spatial_compression_ratio=spatial,
    )


def unit(clips):
    return jnp.asarray(clips, jnp.float32) / 127.5 - 1


@pytest.mark.parametrize(("shape", "temporal", "spatial"), [((2, 5, 8, 12, 3), 4, 4), ((1, 7, 6, 4, 3), 2, 2)])
def test_patches_hold_the_pixels_they_cover(shape, temporal, spatial):
    video = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    patches = np.asarray(to_patches(jnp.asarray(video), temporal, spatial))
    assert patches.shape[-1] == temporal * spatial**2 * 3
    for t, y, x in np.ndindex(*patches.shape[1:4]):
        frames = np.zeros(temporal, int) if t == 0 else np.arange(temporal) + 1 + (t - 1) * temporal
        rows, columns = slice(y * spatial, (y + 1) * spatial), slice(x * spatial, (x + 1) * spatial)
        expected = video[:, frames, rows, columns].reshape(shape[0], -1)
        np.testing.assert_array_equal(patches[:, t, y, x], expected)
    np.testing.assert_allclose(from_patches(jnp.asarray(patches), temporal, spatial), video, atol=1e-6)


def test_encoder_spans_the_principal_components_of_an_svd(codec):
    patches = np.asarray(to_patches(unit(smooth_clips(0, 20)), 4, 4)).reshape(-1, 192).astype(np.float64)
    mean = patches.mean(axis=0)
    _, singular, rows = np.linalg.svd(patches - mean, full_matrices=False)
    np.testing.assert_allclose(codec.mean, mean, atol=1e-4)
    deviations = singular[:12] / np.sqrt(len(patches))
    expected = rows[:12].T / deviations**0.25 * codec.scaling_factor
    signs = np.sign((expected * codec.encoder).sum(axis=0))
    np.testing.assert_allclose(codec.encoder, expected * signs, rtol=2e-2, atol=2e-2 * np.abs(expected).max())


def test_latents_have_unit_variance_and_ordered_channels(codec):
    mean, std = codec.encode(unit(smooth_clips(0, 20)))
    assert float(mean.var()) == pytest.approx(1, abs=0.05)
    variances = np.asarray(mean.var(axis=(0, 1, 2, 3)))
    assert (np.diff(variances) <= 1e-3).all()
    assert not std.any()


def test_decoder_is_the_least_squares_reading_of_neighbours(codec):
    # At the least-squares solution the error is orthogonal to every input of the decoder.
    video = unit(smooth_clips(0, 20))
    latents, _ = codec.encode(video)
    patches = np.asarray(to_patches(video, 4, 4)).reshape(-1, 192)
    decoded = np.asarray(to_patches(codec.decode(latents), 4, 4)).reshape(patches.shape)
    later = np.tile(np.arange(latents.shape[1]) > 0, (20, 1))
    error = (decoded - patches).reshape(latents.shape[0], latents.shape[1], -1)[later]
    assert np.abs(error.mean()) < 2e-2
    own_patch_only = np.linalg.lstsq(np.asarray(latents).reshape(-1, 12), patches - codec.mean, rcond=None)[0]
    plain = np.asarray(latents).reshape(-1, 12) @ own_patch_only + codec.mean
    assert np.mean((decoded - patches) ** 2) < np.mean((plain - patches) ** 2)


def test_held_out_reconstruction(codec):
    video = unit(smooth_clips(99, 4))
    decoded = codec.decode(codec.encode(video)[0])
    error = np.asarray(jnp.mean(jnp.square(decoded - video), axis=(0, 2, 3, 4)))
    psnr = 10 * np.log10(4 / error)
    assert psnr.min() > 28
    assert psnr[0] > 28


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 3), (2, 13, 64, 48, 3), (1, 5, 4, 12, 3)])
def test_other_sizes_under_jit(codec, shape):
    assert isinstance(codec, VideoCodec)
    video = jnp.zeros(shape)
    latents, _ = jax.jit(codec.encode)(video)
    assert latents.shape == (shape[0], 1 + shape[1] // 4, shape[2] // 4, shape[3] // 4, 12)
    assert jax.jit(codec.decode)(latents).shape == shape


def test_a_long_clip_is_decoded_in_pieces(codec):
    latents = np.random.default_rng(0).normal(size=(1, 17, 2, 3, 12)).astype(np.float32)
    pieces = list(codec.decode_pieces(latents))
    assert [piece.shape[1] for piece in pieces] == [29, 32, 4]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), codec.decode(jnp.asarray(latents)), atol=1e-5)


def test_codec_is_causal(codec):
    video = unit(smooth_clips(3, 1))
    changed = video.at[:, 5:].add(0.5)
    latents, other = codec.encode(video)[0], codec.encode(changed)[0]
    np.testing.assert_array_equal(latents[:, :2], other[:, :2])
    np.testing.assert_array_equal(codec.decode(latents)[:, :5], codec.decode(other)[:, :5])
    assert not np.array_equal(latents[:, 2], other[:, 2])


def test_gradients_flow_through_the_decoder(codec):
    gradient = jax.grad(lambda z: codec.decode(z)[:, -1].sum())(jnp.ones((1, 3, 4, 6, 12)))
    assert np.abs(gradient[:, 2]).max() > 0
    assert not np.asarray(gradient[:, :2]).any()


def test_save_and_load_keep_codec_and_hash(codec, tmp_path):
    path = tmp_path / "new" / "codec.npz"
    codec.save(path)
    loaded = LinearVideoCodec.load(path)
    video = unit(smooth_clips(5, 1))
    np.testing.assert_array_equal(loaded.encode(video)[0], codec.encode(video)[0])
    assert loaded.weight_hash == codec.weight_hash
    assert [file.name for file in path.parent.iterdir()] == ["codec.npz"]
    other = fit(smooth_clips(1, 20), 12)
    assert other.weight_hash != codec.weight_hash


def test_bad_files_and_sizes(codec, tmp_path):
    with pytest.raises(UserError, match="no codec at"):
        LinearVideoCodec.load(tmp_path / "missing.npz")
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"not a zip")
    with pytest.raises(UserError, match="not a linear codec"):
        LinearVideoCodec.load(bad)
    np.savez(bad, mean=np.zeros(3))
    with pytest.raises(UserError, match="not a linear codec"):
        LinearVideoCodec.load(bad)
    with pytest.raises(UserError, match="multiples of 4"):
        codec.encode(jnp.zeros((1, 5, 10, 8, 3)))


def test_fit_refuses_impossible_requests():
    with pytest.raises(UserError, match="more than the 12 values"):
        fit(smooth_clips(0, 1, frames=3), 13, temporal=1, spatial=2)
    with pytest.raises(UserError, match="no videos"):
        fit(smooth_clips(0, 1)[:0], 4)


def test_weights_of_sets_matter():
    first, second = smooth_clips(0, 16), smooth_clips(1, 16)
    k = {"latent_channels": 4, "temporal_compression_ratio": 4, "spatial_compression_ratio": 4}
    weighted = fit_linear_codec([(3.0, first), (1.0, second)], **k)
    repeated = fit_linear_codec([(1.0, np.concatenate([first] * 3 + [second]))], **k)
    np.testing.assert_allclose(weighted.encoder, repeated.encoder, atol=2e-3)
    np.testing.assert_allclose(weighted.decoder, repeated.decoder, atol=2e-3)
