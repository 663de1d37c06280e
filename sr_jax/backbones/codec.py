"""Video codecs: pixels to latents and back."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.errors import UserError

# Latent frames that are decoded at a time where frames are decoded alone.
_PIECE = 8


@runtime_checkable
class VideoCodec(Protocol):
    """What every backbone's autoencoder and its small stand-ins have in common.

    A video of F frames has T = 1 + (F - 1) / temporal_compression_ratio latent frames: latent frame 0 covers video
    frame 0, latent frame k covers the next `temporal_compression_ratio` frames. Latents are scaled: they are what the
    transformer sees, of about unit variance.

    A codec compiles its own work. Call its methods from Python and leave out `jax.jit`, which would make the weights of
    a large codec constants of one more program.
    """

    name: str
    weight_hash: str
    temporal_compression_ratio: int
    spatial_compression_ratio: int
    latent_channels: int
    scaling_factor: float
    image_condition_factor: float
    """What the scaled latents of a conditioning image are multiplied by for the image-to-video model."""

    def latent_frames(self, num_frames: int) -> int:
        """Returns T of a clip of F frames: what `encode` makes of them, and `decode` makes F frames of again.

        Raises:
            UserError: If F is not a length of this codec's clips, naming the next ones.
        """
        ...

    def encode(self, video: Float[Array, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], Float[Array, "b t y x c"]]:
        """Returns mean and standard deviation of the scaled latents of a video in [-1, 1]."""
        ...

    def encode_image(self, image: Float[Array, "b h w 3"], key: jax.Array) -> Float[Array, "b 1 y x c"]:
        """Returns a draw of the latents of an image in [-1, 1], as an image-to-video model takes them."""
        ...

    def decode(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Returns the video, about in [-1, 1], of scaled latents."""
        ...

    def decode_to_host(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Float[np.ndarray, "b f h w 3"]:
        """`decode` into host memory, for videos that the device need not hold whole."""
        ...

    def decode_pieces(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Iterator[Float[np.ndarray, "b f h w 3"]]:
        """`decode_to_host`, some frames after the other, for videos that the host's memory need not hold whole."""
        yield self.decode_to_host(latents)

    def release(self) -> None:
        """Takes large weights off the device; the next use brings them back."""


def decode_causal(
    decode: Callable[[Float[Array, "b n y x c"]], Float[Array, "b g h w 3"]],
    latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"],
    *,
    before: int,
    temporal_compression_ratio: int,
) -> Iterator[Float[np.ndarray, "b f h w 3"]]:
    """`VideoCodec.decode_pieces` of a decoder that looks only so far back: what `decode` gives of the whole, in parts.

    Args:
        decode: The decoder, for clips of any length.
        latents: Of the whole clip.
        before: How many latent frames before its own a frame depends on.
        temporal_compression_ratio: Video frames in a latent frame, except the first.
    """
    for start in range(0, latents.shape[1], _PIECE):
        # At least one: the first of a part is decoded to a single frame, as the first of a clip.
        first = max(start - max(before, 1), 0)
        known = 1 + temporal_compression_ratio * (start - first - 1) if start else 0
        yield np.asarray(decode(jnp.asarray(latents[:, first : start + _PIECE])))[:, known:]


def latent_frames(num_frames: int, temporal_compression_ratio: int) -> int:
    """Returns T for F video frames.

    Raises:
        UserError: If F is not 1 plus a multiple of the ratio, naming the next ones that are.
    """
    whole, rest = divmod(num_frames - 1, temporal_compression_ratio)
    if num_frames < 1 or rest:
        shorter = 1 + max(whole, 0) * temporal_compression_ratio
        raise UserError(
            f"a clip of {num_frames} frames does not fit the codec: use {shorter} or "
            f"{shorter + temporal_compression_ratio} (1 plus a multiple of {temporal_compression_ratio})"
        )
    return 1 + whole
