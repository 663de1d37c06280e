"""What reads clips for the metrics: the codec, and judges that never supervised the model that is scored."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.base import Clip, Faces
from sr_jax.media.video import to_uint8
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.depth.colours import invert_colour


@runtime_checkable
class BodyPartJudge(Protocol):
    """Tells body parts apart in frames.

    Attributes:
        name: What it is.
        weight_hash: Names its weights in results.
        parts: Names of the parts; a part's number is its place, from 1.
    """

    name: str
    weight_hash: str
    parts: Sequence[str]

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h w"]:
        """The number of the part that each pixel shows; 0: none."""
        ...


@dataclasses.dataclass(frozen=True)
class Judges:
    """What reads the clips. None of it may have supervised the model that is scored, the codec excepted.

    Attributes:
        codec: Decodes latents to pixels.
        read_structure: From clean latents to the coloured depth video seen in them (see `depth_reader`); None when no
            metric needs it.
        faces: Finds and embeds faces; None when no metric needs it.
        body_parts: Tells body parts apart; None when no metric needs it.
        colour_map: Of the coloured depth.
    """

    codec: VideoCodec
    read_structure: Callable[[Float[Array, "b t y x c"]], Float[np.ndarray, "b f h w 3"]] | None = None
    faces: FaceTeacher | None = None
    body_parts: BodyPartJudge | None = None
    colour_map: str = "inferno"

    def read(self, batch: Sequence[Clip], batch_size: int) -> Iterator[Clip]:
        """The clips with all that the judges read in them.

        Args:
            batch: Up to `batch_size` clips of one size.
            batch_size: Of the networks' calls.

        Raises:
            UserError: When a clip differs in size from the real one.
        """
        latents = np.stack([clip.latents for clip in batch])
        # The last batch is filled up: one shape, one compilation.
        latents = jnp.concatenate([latents, np.repeat(latents[-1:], batch_size - len(batch), axis=0)])
        video = to_uint8(self.codec.decode_to_host(latents)[: len(batch)])
        if video.shape[1:] != batch[0].reference.shape:
            raise UserError(f"generated clips are {_size(video[0])}, the real ones {_size(batch[0].reference)}")
        colours = self.read_structure(latents) if self.read_structure else None
        faces = self._read_faces(batch, video) if self.faces else None
        parts = self._read_body_parts(batch, video) if self.body_parts else None
        # One by one: what is read of a clip at full size fills gigabytes.
        for row, clip in enumerate(batch):
            yield dataclasses.replace(
                clip,
                video=video[row],
                structure=None if colours is None else invert_colour(colours[row], self.colour_map),
                faces=faces and faces[row][1],
                reference_faces=faces and faces[row][0],
                body_parts=None if parts is None else parts[1, row],
                reference_body_parts=None if parts is None else parts[0, row],
            )

    def _read_faces(self, batch: Sequence[Clip], video: UInt8[np.ndarray, "n f h w 3"]) -> list[tuple[Faces, Faces]]:
        """Faces in each real and in each scored clip; the judge sees all frames together, which is faster."""
        both = np.stack([np.stack([clip.reference for clip in batch]), video])
        embeddings, found = (
            array.reshape(*both.shape[:3], *array.shape[1:])
            for array in find_faces(both.reshape(-1, *both.shape[3:]), self.faces)
        )
        real, ours = map(Faces, embeddings[0], found[0]), map(Faces, embeddings[1], found[1])
        return list(zip(real, ours, strict=True))

    def _read_body_parts(
        self, batch: Sequence[Clip], video: UInt8[np.ndarray, "n f h w 3"]
    ) -> UInt8[np.ndarray, "2 n f h w"]:
        """Body parts in the real clips, and in those that are scored."""
        both = np.stack([np.stack([clip.reference for clip in batch]), video])
        return self.body_parts(both.reshape(-1, *both.shape[3:])).reshape(both.shape[:-1])


def find_faces(frames: UInt8[np.ndarray, "f h w 3"], judge: FaceTeacher) -> Faces:
    """The largest face in every frame.

    Args:
        frames: RGB frames `[F, H, W, 3]`.
        judge: Finds and embeds faces; another one than the teacher that supervised.
    """
    largest = [max(faces, key=lambda face: face.area, default=None) for faces in judge.detector(frames)]
    embeddings, found = judge.recogniser.embed(frames, largest)
    return Faces(embeddings.astype(np.float64), found)


def depth_reader(
    structure: Callable[[Float[Array, "b t h w c"]], Float[Array, "b t h w c"]], codec: VideoCodec
) -> Callable[[Float[Array, "b t h w c"]], Float[np.ndarray, "b f p q 3"]]:
    """A function from video latents to the coloured depth video that the structure module sees in them.

    Args:
        structure: A structure module with its parameters, clean latents to depth latents (the paper's f_S).
        codec: Decodes depth latents to colours in [-1, 1].

    Returns:
        The function; both its parts are compiled. `teachers.depth.invert_colour` turns its colours into disparity.
    """
    compiled = jax.jit(structure)
    return lambda latents: codec.decode_to_host(compiled(latents))


def _size(frames: np.ndarray) -> str:
    return f"{frames.shape[0]} frames of {frames.shape[1]}x{frames.shape[2]} pixels"
