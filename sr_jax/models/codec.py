"""Video codecs: pixels to latents and back. The interface, and a linear codec that is fitted in closed form."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.errors import UserError


@runtime_checkable
class VideoCodec(Protocol):
    """What the CogVideoX autoencoder and its small stand-in have in common.

    A video of F frames has T = 1 + (F - 1) / temporal_compression_ratio latent frames: latent frame 0 covers video
    frame 0, latent frame k covers the next `temporal_compression_ratio` frames. Latents are scaled: they are what the
    transformer sees, of about unit variance.
    """

    name: str
    weight_hash: str
    temporal_compression_ratio: int
    spatial_compression_ratio: int
    latent_channels: int
    scaling_factor: float

    def encode(self, video: Float[Array, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], Float[Array, "b t y x c"]]:
        """Returns mean and standard deviation of the scaled latents of a video in [-1, 1]."""
        ...

    def decode(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Returns the video, about in [-1, 1], of scaled latents."""
        ...


def latent_frames(num_frames: int, temporal_compression_ratio: int) -> int:
    """Returns T for F video frames.

    Raises:
        UserError: If F is not 1 plus a multiple of the ratio.
    """
    whole, rest = divmod(num_frames - 1, temporal_compression_ratio)
    if num_frames < 1 or rest:
        raise UserError(
            f"a clip of {num_frames} frames does not fit the codec: use 1 plus a multiple of "
            f"{temporal_compression_ratio} frames"
        )
    return 1 + whole


def to_patches(video: Float[Array, "b f h w 3"], temporal: int, spatial: int) -> Float[Array, "b t y x values"]:
    """Cuts a video into patches of temporal x spatial x spatial pixels; the first frame is repeated to fill its patch.

    Raises:
        UserError: If the number of frames or the size does not divide.
    """
    b, f, h, w, c = video.shape
    t = latent_frames(f, temporal)
    if h % spatial or w % spatial:
        raise UserError(f"frames of {h}x{w} pixels do not fit the codec: both sides must be multiples of {spatial}")
    video = jnp.concatenate([jnp.repeat(video[:, :1], temporal - 1, axis=1), video], axis=1)
    video = video.reshape(b, t, temporal, h // spatial, spatial, w // spatial, spatial, c)
    video = video.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return video.reshape(b, t, h // spatial, w // spatial, temporal * spatial * spatial * c)


def from_patches(patches: Float[Array, "b t y x values"], temporal: int, spatial: int) -> Float[Array, "b f h w 3"]:
    """The inverse of `to_patches`; the first frame is the mean over its patch, where all frames should be the same."""
    b, t, y, x, _ = patches.shape
    video = patches.reshape(b, t, y, x, temporal, spatial, spatial, 3).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    video = video.reshape(b, t * temporal, y * spatial, x * spatial, 3)
    return jnp.concatenate([video[:, :temporal].mean(axis=1, keepdims=True), video[:, temporal:]], axis=1)


@dataclass(frozen=True)
class LinearVideoCodec:
    """Principal components of small space-time patches: a causal linear codec for small videos.

    Latent channel c is the patch's coordinate on the c-th principal component, divided by the square root of its
    standard deviation, and all channels by one number (`scaling_factor`) so that latents have unit variance overall.
    This half whitening keeps the order of importance (a mean squared error on latents still cares more for what
    matters more in pixels) without leaving the last channels so faint that the noise of the schedule drowns them at
    once. The codec is deterministic, so the standard deviation of its latents is 0.

    Attributes:
        mean: `[P]` mean patch, P = temporal * spatial * spatial * 3.
        basis: `[P, C]` orthonormal components, most important first.
        channel_scales: `[C]` what each coordinate is divided by before the overall scale.
        scaling_factor: The overall scale; latents are multiplied by it.
        temporal_compression_ratio: Video frames in a latent frame, except the first.
        spatial_compression_ratio: Pixels along each side of a latent pixel.
        name: What provenance calls this codec.
    """

    mean: Float[np.ndarray, " p"]
    basis: Float[np.ndarray, "p c"]
    channel_scales: Float[np.ndarray, " c"]
    scaling_factor: float
    temporal_compression_ratio: int
    spatial_compression_ratio: int
    name: str = field(default="linear", init=False)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent pixel."""
        return self.basis.shape[1]

    @property
    def weight_hash(self) -> str:
        """First 16 hex digits of the sha256 of all that the codec's output depends on."""
        digest = hashlib.sha256()
        for key, value in sorted(self._arrays().items()):
            digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:16]

    def encode(self, video: Float[Array, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], Float[Array, "b t y x c"]]:
        """Encodes a video.

        Args:
            video: Values in [-1, 1], 1 plus a multiple of `temporal_compression_ratio` frames.

        Returns:
            The scaled latents and their standard deviation, which is 0 everywhere.

        Raises:
            UserError: If the number of frames or the size does not fit the codec.
        """
        patches = to_patches(video, self.temporal_compression_ratio, self.spatial_compression_ratio)
        latents = (patches - self.mean) @ (self.basis * (self.scaling_factor / self.channel_scales))
        return latents, jnp.zeros_like(latents)

    def decode(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Decodes scaled latents to a video about in [-1, 1] (not clipped, so that gradients flow everywhere)."""
        patches = latents @ (self.basis * (self.channel_scales / self.scaling_factor)).T + self.mean
        return from_patches(patches, self.temporal_compression_ratio, self.spatial_compression_ratio)

    def save(self, path: Path) -> None:
        """Writes the codec as `.npz`: whole, or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        with open(temporary, "wb") as file:
            np.savez(file, **self._arrays())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> "LinearVideoCodec":
        """Reads a codec that `save` wrote.

        Raises:
            UserError: If the file is missing or is not such a codec.
        """
        if not path.is_file():
            raise UserError(f"no codec at {path}: fit one with python -m sr_jax.fit_teachers")
        try:
            with np.load(path, allow_pickle=False) as stored:
                ratios = stored["compression_ratios"]
                return cls(
                    mean=stored["mean"],
                    basis=stored["basis"],
                    channel_scales=stored["channel_scales"],
                    scaling_factor=float(stored["scaling_factor"]),
                    temporal_compression_ratio=int(ratios[0]),
                    spatial_compression_ratio=int(ratios[1]),
                )
        # A damaged zip, a file of another kind and a missing key arrive as different built-in exceptions.
        except Exception as error:
            raise UserError(f"{path} is not a linear codec: fit one with python -m sr_jax.fit_teachers") from error

    def _arrays(self) -> dict[str, np.ndarray]:
        ratios = (self.temporal_compression_ratio, self.spatial_compression_ratio)
        return {
            "mean": self.mean,
            "basis": self.basis,
            "channel_scales": self.channel_scales,
            "scaling_factor": np.asarray(self.scaling_factor, np.float64),
            "compression_ratios": np.asarray(ratios, np.int64),
        }


def fit_linear_codec(
    videos: Iterable[Float[np.ndarray, "b f h w 3"]],
    *,
    latent_channels: int,
    temporal_compression_ratio: int,
    spatial_compression_ratio: int,
) -> LinearVideoCodec:
    """Fits a `LinearVideoCodec` by the eigenvectors of the covariance of all patches.

    Args:
        videos: Batches of videos in [-1, 1]; read once.
        latent_channels: Components to keep.
        temporal_compression_ratio: See `LinearVideoCodec`.
        spatial_compression_ratio: See `LinearVideoCodec`.

    Raises:
        UserError: If there are fewer values in a patch than channels, or no videos.
    """
    size = temporal_compression_ratio * spatial_compression_ratio**2 * 3
    if latent_channels > size:
        raise UserError(f"{latent_channels} latent channels are more than the {size} values of a patch: ask for fewer")

    @jax.jit
    def moments(video: Array) -> tuple[Array, Array]:
        patches = to_patches(video, temporal_compression_ratio, spatial_compression_ratio).reshape(-1, size)
        return patches.mean(axis=0), patches.T @ patches / len(patches)

    weights, means, seconds = [], [], []
    for video in videos:
        first, second = moments(video)
        weights.append(video.size)
        means.append(np.asarray(first, np.float64))
        seconds.append(np.asarray(second, np.float64))
    if not weights:
        raise UserError("no videos to fit the codec on")
    mean = np.average(means, axis=0, weights=weights)
    covariance = np.average(seconds, axis=0, weights=weights) - np.outer(mean, mean)
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1][:latent_channels], vectors[:, ::-1][:, :latent_channels]
    # An eigenvector's sign is arbitrary: fix it, so that a fit does not depend on the linear algebra library.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(latent_channels)])
    deviations = np.sqrt(np.maximum(variances, 1e-8))
    return LinearVideoCodec(
        mean=mean.astype(np.float32),
        basis=vectors.astype(np.float32),
        channel_scales=np.sqrt(deviations).astype(np.float32),
        # Channel c has variance deviations[c] after its own scale.
        scaling_factor=float(1 / np.sqrt(deviations.mean())),
        temporal_compression_ratio=temporal_compression_ratio,
        spatial_compression_ratio=spatial_compression_ratio,
    )
