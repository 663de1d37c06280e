"""Fitting the linear codec: two passes over the videos, no gradient steps."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.demo.linear_codec import LinearVideoCodec, repeat_border, to_patches
from sr_jax.errors import UserError

WeightedVideos = tuple[float, UInt8[np.ndarray, "n f h w 3"]]
"""How much an average pixel of these videos counts, and RGB videos."""

_BATCH = 16
# Added to the diagonal of the decoder's normal equations, as a part of its mean: keeps faint channels harmless.
_RIDGE = 1e-5
# Channels are divided by this power of their standard deviation.
_WHITENING = 0.25


def fit_linear_codec(
    videos: Sequence[WeightedVideos],
    *,
    latent_channels: int,
    temporal_compression_ratio: int,
    spatial_compression_ratio: int,
) -> LinearVideoCodec:
    """Fits a `LinearVideoCodec`: eigenvectors of the covariance of patches, then least squares from latents to patches.

    Args:
        videos: Sets of videos, weighted.
        latent_channels: Components to keep, C.
        temporal_compression_ratio: See `LinearVideoCodec`.
        spatial_compression_ratio: See `LinearVideoCodec`.

    Raises:
        UserError: If there are fewer values in a patch than channels, no videos, or videos that do not fit the ratios.
    """
    size = temporal_compression_ratio * spatial_compression_ratio**2 * 3
    if latent_channels > size:
        raise UserError(f"{latent_channels} latent channels are more than the {size} values of a patch: ask for fewer")
    if not any(len(clips) for _, clips in videos):
        raise UserError("no videos to fit the codec on")

    def cut(video: Array) -> Array:
        pixels = jnp.asarray(video, jnp.float32) / 127.5 - 1
        return to_patches(pixels, temporal_compression_ratio, spatial_compression_ratio)

    def patches_twice(video: Array) -> tuple[Array, Array]:
        patches = _with_one(cut(video))
        return patches, patches

    moments = _mean_products(patches_twice, videos)
    mean = moments[0, 1:]
    components, deviations = _principal_components(moments[1:, 1:] - np.outer(mean, mean), latent_channels)
    # The power between 0 (a channel counts by its pixels) and 1 (all channels count the same) that trained best.
    weights = deviations**-_WHITENING
    scaling_factor = 1 / np.sqrt(np.mean((weights * deviations) ** 2))
    encoder = (components * scaling_factor * weights).astype(np.float32)
    mean = mean.astype(np.float32)

    def neighbours_and_patches(video: Array) -> tuple[Array, Array]:
        patches = cut(video)
        neighbours = _with_one(_neighbours((patches - mean) @ encoder))
        return neighbours, jnp.concatenate([neighbours, patches], axis=-1)

    products = _mean_products(neighbours_and_patches, videos)
    normal, targets = products[:, : len(products)], products[:, len(products) :]
    ridge = _RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
    solution = np.linalg.solve(normal + ridge, targets).astype(np.float32)
    return LinearVideoCodec(
        mean=mean,
        encoder=encoder,
        decoder=solution[1:].reshape(3, 3, latent_channels, size),
        offset=solution[0],
        scaling_factor=float(scaling_factor),
        temporal_compression_ratio=temporal_compression_ratio,
        spatial_compression_ratio=spatial_compression_ratio,
    )


def _mean_products(
    features: Callable[[Array], tuple[Array, Array]], videos: Sequence[WeightedVideos]
) -> Float[np.ndarray, "d e"]:
    """Weighted mean over all latent pixels of the outer products of two feature vectors, summed in float64."""

    @jax.jit
    def batch_products(video: Array) -> Array:
        left, right = (x.reshape(-1, x.shape[-1]) for x in features(video))
        return left.T @ right

    total = np.zeros(())
    for weight, clips in videos:
        for start in range(0, len(clips), _BATCH):
            batch = clips[start : start + _BATCH]
            total = total + weight * np.asarray(batch_products(batch), np.float64)
    # The first feature of both is 1: its product with itself counts the latent pixels.
    return total / total[0, 0]


def _principal_components(
    covariance: Float[np.ndarray, "p p"], count: int
) -> tuple[Float[np.ndarray, "p {count}"], Float[np.ndarray, " {count}"]]:
    """The first eigenvectors of a covariance, largest first, and the standard deviations along them."""
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary: fix it, so that a fit does not depend on the linear algebra library.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    return vectors, np.sqrt(np.maximum(variances, 1e-8))


def _with_one(features: Float[Array, "*n d"]) -> Float[Array, "*n d+1"]:
    return jnp.concatenate([jnp.ones((*features.shape[:-1], 1)), features], axis=-1)


def _neighbours(latents: Float[Array, "b t y x c"]) -> Float[Array, "b t y x 9*c"]:
    """Each latent pixel and its eight neighbours, in the order of a 3x3 convolution kernel."""
    b, t, y, x, c = latents.shape
    padded = repeat_border(latents.reshape(b * t, y, x, c))
    shifted = [padded[:, row : row + y, column : column + x] for row in range(3) for column in range(3)]
    return jnp.concatenate(shifted, axis=-1).reshape(b, t, y, x, 9 * c)
