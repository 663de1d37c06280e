import numpy as np
import pytest

from sr_jax.demo.fit_teachers.round_trip import codec_round_trip


class HalfCodec:
    """Halves the size of values on the way in and doubles them on the way out."""

    name, weight_hash, scaling_factor, image_condition_factor = "half", "none", 0.5, 1.0
    temporal_compression_ratio, spatial_compression_ratio, latent_channels = 1, 1, 3

    def latent_frames(self, num_frames):
        return num_frames

    def encode(self, video):
        return video / 2, video * 0

    def encode_image(self, image, key):
        return self.encode(image[:, None])[0]

    def decode(self, latents):
        return latents * 2

    def decode_to_host(self, latents):
        return np.asarray(self.decode(latents))

    def decode_pieces(self, latents):
        yield self.decode_to_host(latents)

    def release(self):
        pass


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).integers(40, 215, (19, 2, 8, 6, 3)).astype(np.uint8)


def test_without_noise_a_perfect_codec_changes_nothing(clips):
    np.testing.assert_array_equal(codec_round_trip(clips, HalfCodec(), latent_noise=0.0, seed=0), clips)


def test_noise_differs_by_clip_and_repeats_by_seed(clips):
    noisy = codec_round_trip(clips, HalfCodec(), latent_noise=0.1, seed=0)
    np.testing.assert_array_equal(noisy, codec_round_trip(clips, HalfCodec(), latent_noise=0.1, seed=0))
    assert (noisy != codec_round_trip(clips, HalfCodec(), latent_noise=0.1, seed=1)).any()
    # Decoding doubles the noise; pixels have 127.5 steps a unit.
    sizes = (noisy.astype(float) - clips).std(axis=(1, 2, 3, 4)) / 127.5 / 2
    assert sizes.max() < 0.11
    assert sizes.min() < 0.04
    assert sizes.std() > 0.015
