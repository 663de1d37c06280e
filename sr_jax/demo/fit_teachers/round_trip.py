"""Clips as a codec shows them: encoded, disturbed, decoded."""

import jax
import numpy as np
from jaxtyping import Array, UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.media.video import to_uint8, to_unit_range

_BATCH = 16


def codec_round_trip(
    clips: UInt8[np.ndarray, "n f h w 3"], codec: VideoCodec, *, latent_noise: float, seed: int
) -> UInt8[np.ndarray, "n f h w 3"]:
    """Encodes clips, adds noise to their latents and decodes them: about how generated clips look.

    Args:
        clips: RGB.
        codec: For the round trip.
        latent_noise: Each clip gets Gaussian noise of a standard deviation drawn evenly from 0 to this; 0 for none.
        seed: Of the noise.
    """

    @jax.jit
    def round_trip(video: Array, key: Array) -> Array:
        size_key, noise_key = jax.random.split(key)
        latents, _ = codec.encode(video)
        sizes = jax.random.uniform(size_key, (len(video), 1, 1, 1, 1), maxval=latent_noise)
        return codec.decode(latents + sizes * jax.random.normal(noise_key, latents.shape))

    # The last batch is filled up, so that one shape is compiled.
    padded = np.concatenate([clips, np.repeat(clips[-1:], -len(clips) % _BATCH, axis=0)])
    batches = padded.reshape(-1, _BATCH, *clips.shape[1:])
    keys = jax.random.split(jax.random.key(seed, impl="rbg"), len(batches))
    decoded = [to_uint8(np.asarray(round_trip(to_unit_range(batch), key))) for batch, key in zip(batches, keys)]
    return np.concatenate(decoded)[: len(clips)]
