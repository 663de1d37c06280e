"""The demo's video codec: linear, fitted in closed form."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.codec import VideoCodec, decode_causal, latent_frames
from sr_jax.errors import UserError
from sr_jax.outputs import replacing
from sr_jax.sections import Section, weights_path


def load(section: Section) -> VideoCodec:
    """Loads the codec from the file that the section's `path` names.

    Raises:
        UserError: If there is no path, or the file is missing or is not such a codec.
    """
    return LinearVideoCodec.load(weights_path(section))


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


@functools.partial(jax.jit, static_argnames=("temporal", "spatial"))
def _encode(video: Array, mean: Array, encoder: Array, *, temporal: int, spatial: int) -> Array:
    return (to_patches(video, temporal, spatial) - mean) @ encoder


@functools.partial(jax.jit, static_argnames=("temporal", "spatial"))
def _decode(latents: Array, decoder: Array, offset: Array, *, temporal: int, spatial: int) -> Array:
    b, t, y, x, c = latents.shape
    padded = repeat_border(latents.reshape(b * t, y, x, c))
    patches = jax.lax.conv_general_dilated(padded, decoder, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return from_patches(patches.reshape(b, t, y, x, -1) + offset, temporal, spatial)


@dataclass(frozen=True)
class LinearVideoCodec(VideoCodec):
    """A linear codec for small videos: principal components in, least squares over neighbours out.

    Encoding: latent channel c is a patch's coordinate on the c-th principal component, divided by the fourth root
    of its standard deviation, and all channels multiplied by one number (`scaling_factor`) so that latents have unit
    variance overall. This part whitening keeps the order of importance (a mean squared error on latents still cares
    more for what matters more in pixels) without leaving the last channels so faint that the schedule's noise drowns
    them at once. It is deterministic, so the standard deviation of its latents is 0.

    Decoding: each patch is read from its own latent pixel and the eight around it, which restores edges across
    patches. Both directions are causal: a latent frame is made from, and gives, its own video frames only.

    Attributes:
        mean: `[P]` mean patch, P = temporal * spatial * spatial * 3.
        encoder: `[P, C]` from centred patches to scaled latents, most important channel first.
        decoder: `[3, 3, C, P]` convolution kernel from scaled latents to patches.
        offset: `[P]` added to decoded patches.
        scaling_factor: The overall scale that is already in `encoder` and `decoder`.
        temporal_compression_ratio: Video frames in a latent frame, except the first.
        spatial_compression_ratio: Pixels along each side of a latent pixel.
        name: What provenance calls this codec.
        image_condition_factor: 1: a conditioning image is encoded as any other.
    """

    mean: Float[np.ndarray, " p"]
    encoder: Float[np.ndarray, "p c"]
    decoder: Float[np.ndarray, "3 3 c p"]
    offset: Float[np.ndarray, " p"]
    scaling_factor: float
    temporal_compression_ratio: int
    spatial_compression_ratio: int
    name: str = field(default="linear", init=False)
    image_condition_factor: float = field(default=1.0, init=False)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent pixel."""
        return self.encoder.shape[1]

    @property
    def weight_hash(self) -> str:
        """First 16 hex digits of the sha256 of all that the codec's output depends on."""
        digest = hashlib.sha256()
        for key, value in sorted(self._arrays().items()):
            digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:16]

    def latent_frames(self, num_frames: int) -> int:
        """Returns T of a clip of F frames.

        Raises:
            UserError: If F is not 1 plus a multiple of the ratio, naming the next ones that are.
        """
        return latent_frames(num_frames, self.temporal_compression_ratio)

    def encode(self, video: Float[Array, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], Float[Array, "b t y x c"]]:
        """Encodes a video.

        Args:
            video: Values in [-1, 1], 1 plus a multiple of `temporal_compression_ratio` frames.

        Returns:
            The scaled latents and their standard deviation, which is 0 everywhere.

        Raises:
            UserError: If the number of frames or the size does not fit the codec.
        """
        sizes = {"temporal": self.temporal_compression_ratio, "spatial": self.spatial_compression_ratio}
        latents = _encode(video, self.mean, self.encoder, **sizes)
        return latents, jnp.zeros_like(latents)

    def encode_image(self, image: Float[Array, "b h w 3"], key: jax.Array) -> Float[Array, "b 1 y x c"]:
        """Encodes an image in [-1, 1] as the one frame of a video; the key is without effect."""
        del key
        return self.encode(image[:, None])[0]

    def decode(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Decodes scaled latents to a video about in [-1, 1] (not clipped, so that gradients flow everywhere)."""
        sizes = {"temporal": self.temporal_compression_ratio, "spatial": self.spatial_compression_ratio}
        return _decode(latents, self.decoder, self.offset, **sizes)

    def decode_to_host(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Float[np.ndarray, "b f h w 3"]:
        """`decode`, then a copy: videos of this codec are small."""
        return np.asarray(self.decode(jnp.asarray(latents)))

    def decode_pieces(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Iterator[Float[np.ndarray, "b f h w 3"]]:
        """`decode`, a few latent frames at a time; none depends on another."""
        ratio = self.temporal_compression_ratio
        return decode_causal(self.decode, latents, before=0, temporal_compression_ratio=ratio)

    def save(self, path: Path) -> None:
        """Writes the codec as `.npz`: whole, or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **self._arrays())

    @classmethod
    def load(cls, path: Path) -> "LinearVideoCodec":
        """Reads a codec that `save` wrote.

        Raises:
            UserError: If the file is missing or is not such a codec.
        """
        if not path.is_file():
            raise UserError(f"no codec at {path}: fit one with python -m sr_jax.demo.fit_teachers")
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in ("mean", "encoder", "decoder", "offset")}
                temporal, spatial = (int(ratio) for ratio in stored["compression_ratios"])
                scaling_factor = float(stored["scaling_factor"])
        # A damaged zip, a file of another kind and a missing key arrive as different built-in exceptions.
        except Exception as error:
            raise UserError(f"{path} is not a linear codec: fit one with python -m sr_jax.demo.fit_teachers") from error
        return cls(
            **arrays,
            scaling_factor=scaling_factor,
            temporal_compression_ratio=temporal,
            spatial_compression_ratio=spatial,
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        ratios = (self.temporal_compression_ratio, self.spatial_compression_ratio)
        return {
            "mean": self.mean,
            "encoder": self.encoder,
            "decoder": self.decoder,
            "offset": self.offset,
            "scaling_factor": np.asarray(self.scaling_factor, np.float64),
            "compression_ratios": np.asarray(ratios, np.int64),
        }


def repeat_border(latents: Float[Array, "n y x c"]) -> Float[Array, "n y+2 x+2 c"]:
    """Adds one latent pixel on every side, equal to the nearest one, so that all have eight neighbours."""
    return jnp.pad(latents, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
