"""Tokens as a field of a record, and the frames that stand for a latent frame."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.teachers.base import ClipBatch, FeatureTeacher, identify

FRAMES = ("last", "mean")
"""Tokens of a latent frame: those of the last frame that it covers, or the mean of those of all its frames.

The first is what CREPA's published trainers come to, which take T of F = 1 + r (T - 1) frames in equal steps: frames 0,
r, 2r and so on. It is an r-th of the work. The first latent frame covers one frame alone.
"""


@runtime_checkable
class ImageEncoder(Protocol):
    """A frozen network that turns images into tokens.

    Attributes:
        name: Names it in provenance.
        weight_hash: Names its weights there.
        settings: What else its tokens depend on, for provenance.
    """

    name: str
    weight_hash: str
    settings: Mapping[str, str]

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Array, "n y x d"]:
        """Returns tokens of RGB images, float32, on a grid over the whole image."""
        ...


def token_fields(slot: str) -> dict[str, str]:
    """The field of the tokens of a teacher, with its axes.

    The grid's axes bear the teacher's name: each teacher of a record has a grid and a width of its own.
    """
    return {f"{slot}_tokens": f"t {slot}_y {slot}_x {slot}_d"}


def check_frames(slot: str, frames: str) -> str:
    """What stands for a latent frame, as a section says it.

    Raises:
        UserError: When it is none of `FRAMES`.
    """
    if frames not in FRAMES:
        raise UserError(f"features.{slot}.frames is {frames!r}: choose one of {', '.join(FRAMES)}")
    return frames


def wanted_frames(clips: Shaped[np.ndarray, "n f *s"], ratio: int, frames: str) -> Shaped[np.ndarray, "n g *s"]:
    """The frames of clips whose tokens are needed.

    Args:
        clips: One entry for each of F = 1 + r (T - 1) frames.
        ratio: r, frames in a latent frame after the first.
        frames: A word of `FRAMES`.
    """
    return clips[:, ::ratio] if frames == "last" else clips


def of_latent_frames(tokens: Float[Array, "n g y x d"], ratio: int, frames: str) -> Float[Array, "n t y x d"]:
    """The tokens of latent frames, of those of `wanted_frames`, as float32."""
    tokens = tokens.astype(jnp.float32)
    if frames == "last":
        return tokens
    count, _, *shape = tokens.shape
    later = tokens[:, 1:].reshape(count, -1, ratio, *shape).mean(axis=2)
    return jnp.concatenate([tokens[:, :1], later], axis=1)


class ImageTokens(FeatureTeacher):
    """A token teacher by an encoder of images, which sees frames one by one."""

    def __init__(self, slot: str, encoder: ImageEncoder, *, frames: str = "last", batch_size: int = 16):
        """Computes nothing yet.

        Args:
            slot: What the config calls the teacher.
            encoder: Gives the tokens of frames.
            frames: What stands for a latent frame, a word of `FRAMES`.
            batch_size: Frames that the encoder sees at a time; always as many, so that one shape is compiled.

        Raises:
            UserError: For another word.
        """
        self.name, self.weight_hash, self.fields = encoder.name, encoder.weight_hash, token_fields(slot)
        self._encoder, self._frames, self._batch_size = encoder, check_frames(slot, frames), batch_size

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, Array]:
        """Returns the tokens of every clip; rows that repeat the last clip are not computed."""
        ratio = codec.temporal_compression_ratio
        wanted = wanted_frames(clips.frames[: clips.count], ratio, self._frames)
        tokens = self._encoded(wanted.reshape(-1, *wanted.shape[2:]))
        made = of_latent_frames(tokens.reshape(*wanted.shape[:2], *tokens.shape[1:]), ratio, self._frames)
        rows = np.minimum(np.arange(len(clips.frames)), clips.count - 1)
        return {next(iter(self.fields)): made[rows]}

    def provenance(self, slot: str) -> dict[str, dict[str, str]]:
        """The encoder, and what its tokens depend on."""
        return {slot: identify(self) | dict(self._encoder.settings) | {"frames": self._frames}}

    def _encoded(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Float[Array, "n y x d"]:
        parts = []
        for start in range(0, len(frames), self._batch_size):
            part = frames[start : start + self._batch_size]
            filled = np.concatenate([part, np.repeat(part[-1:], self._batch_size - len(part), axis=0)])
            parts.append(self._encoder(filled)[: len(part)])
        return jnp.concatenate(parts)
