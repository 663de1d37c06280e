"""Tokens that were computed elsewhere and lie beside each video.

For a teacher that the config calls NAME, beside `video.mp4` lies `video.NAME.npz` with `tokens`, float
`[entries, Y, X, D]`, on a grid over the whole frame: an entry for each frame, or, with `entry_frames` r, one for the
first frame and one for each r frames after it, as latent frames are. Clips are cut out of them as out of the video: a
clip's frame has the entry that covers it, and where the clip shows a part of the frame, the grid is interpolated over
that part.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.media.decoding import VideoInfo
from sr_jax.sections import Section, value
from sr_jax.teachers.arrays import array_entries, array_header
from sr_jax.teachers.base import ClipBatch, FeatureTeacher, identify
from sr_jax.teachers.tokens.fields import check_frames, of_latent_frames, token_fields, wanted_frames

_KEY = "tokens"
_LARGEST = float(np.finfo(np.float16).max)


def load(section: Section) -> FeatureTeacher:
    """Loads `{"name": "precomputed", "shape": (Y, X, D)}`; further entries are in `configs/sections.py`.

    Raises:
        UserError: When the shape is missing, or for impossible entries.
    """
    return PrecomputedTokens(
        section["slot"],
        tuple(value(section, "shape")),
        entry_frames=section.get("entry_frames", 1),
        frames=section.get("frames", "last"),
    )


class PrecomputedTokens(FeatureTeacher):
    """Reads the tokens that lie beside a video.

    Attributes:
        name: `precomputed`.
        weight_hash: `none`.
    """

    name, weight_hash = "precomputed", "none"

    def __init__(self, slot: str, shape: tuple[int, int, int], *, entry_frames: int = 1, frames: str = "last"):
        """Reads nothing yet.

        Args:
            slot: What the config calls the teacher, and files are named by.
            shape: Rows, columns and channels of the tokens of every file.
            entry_frames: Frames of the video that an entry covers, after the first.
            frames: What stands for a latent frame, a word of `FRAMES`.

        Raises:
            UserError: For another word.
        """
        self.fields = token_fields(slot)
        self._slot, self._shape, self._entry_frames = slot, shape, entry_frames
        self._frames = check_frames(slot, frames)

    def __call__(self, clips: ClipBatch, codec: VideoCodec) -> dict[str, Array]:
        """Returns the tokens of every clip."""
        ratio = codec.temporal_compression_ratio
        tokens = jnp.asarray(wanted_frames(clips.beside, ratio, self._frames))
        return {next(iter(self.fields)): of_latent_frames(tokens, ratio, self._frames)}

    def provenance(self, slot: str) -> dict[str, dict[str, str]]:
        """What the records' tokens depend on, beside the files."""
        shape = "x".join(map(str, self._shape))
        settings = {"shape": shape, "entry_frames": str(self._entry_frames), "frames": self._frames}
        return {slot: identify(self) | settings}

    def beside(self, path: Path) -> Iterator[Float[np.ndarray, "y x d"]]:
        """The tokens of the video at `path` one frame at a time, of the file's own type.

        Raises:
            UserError: If the file is missing, unreadable, of another shape, or holds what float16 cannot.
        """
        for number, entry in enumerate(self._entries(path)):
            yield from [entry] * (self._entry_frames if number else 1)

    def check(self, path: Path, info: VideoInfo) -> None:
        """Reads all tokens of a video without keeping them.

        Raises:
            UserError: As `beside`, and when there are too few or too many entries.
        """
        count = sum(1 for _ in self._entries(path))
        wanted = 1 + -(-(info.num_frames - 1) // self._entry_frames)
        if count != wanted:
            raise UserError(
                f"{self._file(path)} has tokens of {count} entries, but {path.name} has {info.num_frames} frames: it "
                f"must have {wanted} (features.{self._slot}.entry_frames is {self._entry_frames})"
            )

    def _file(self, path: Path) -> Path:
        return path.with_name(f"{path.stem}.{self._slot}.npz")

    def _entries(self, path: Path) -> Iterator[Float[np.ndarray, "y x d"]]:
        file = self._file(path)
        if not file.is_file():
            raise UserError(f"no tokens {file}: put them beside the video, or leave features.{self._slot} out")
        try:
            with zipfile.ZipFile(file) as archive, archive.open(f"{_KEY}.npy") as member:
                shape, dtype = array_header(member)
                if shape[1:] != self._shape or dtype.kind != "f":
                    raise UserError(
                        f"{file} holds {_KEY} {shape} of {dtype}: they must be floats of shape "
                        f"[entries, {', '.join(map(str, self._shape))}] (features.{self._slot}.shape)"
                    )
                for number, entry in enumerate(array_entries(member, shape, dtype)):
                    # Written so that NaN fails too.
                    if not (np.abs(entry) <= _LARGEST).all():
                        raise UserError(f"entry {number} of {file} holds values that float16 cannot store")
                    yield entry
        except UserError:
            raise
        # A damaged zip, a file of another kind and a pickle arrive as different built-in exceptions.
        except Exception as error:
            raise UserError(f"cannot read {file}: it must be an .npz file with the plain array {_KEY!r}") from error
