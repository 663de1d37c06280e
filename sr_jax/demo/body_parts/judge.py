"""The judge of body parts, as `python -m sr_jax.demo.body_parts` fits it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from sr_jax.demo.body_parts.network import STRIDE, BodyPartConfig, body_part_network, most_likely
from sr_jax.demo.small_faces.weights import read_config, read_params
from sr_jax.models.functional import Params
from sr_jax.sections import Section, weights_path
from sr_jax.teachers.base import file_hash

# Frames in one call of the network: whatever the length of a video, one shape is compiled.
_CHUNK = 64


class SmallBodyPartJudge:
    """A judge of body parts with a small network."""

    name = "small_body_part_judge"

    def __init__(self, config: BodyPartConfig, params: Params, *, weight_hash: str):
        """Compiles on first use.

        Args:
            config: Size of the network.
            params: Its parameters.
            weight_hash: Names the weights in results.
        """
        self.weight_hash, self.parts = weight_hash, config.parts
        network = body_part_network(config)
        self._read = jax.jit(lambda frames: most_likely(network.apply(params, jnp.float32(frames) / 127.5 - 1)))

    @classmethod
    def load(cls, path: Path) -> "SmallBodyPartJudge":
        """Reads a judge.

        Raises:
            UserError: If the file is missing or is no such judge.
        """
        config = read_config(path, BodyPartConfig)
        return cls(config, read_params(path, body_part_network(config)), weight_hash=file_hash(path))

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h w"]:
        """The number of the part at every pixel; sides that are no multiples of the stride are filled up inside."""
        count, height, width, _ = frames.shape
        missing = [(0, -count % _CHUNK), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)]
        padded = np.pad(frames, missing, mode="edge")
        read = [np.asarray(self._read(padded[at : at + _CHUNK])) for at in range(0, len(padded), _CHUNK)]
        return np.concatenate(read)[:count, :height, :width]


def load(section: Section) -> SmallBodyPartJudge:
    """Loads the file that the section's `path` names.

    Raises:
        UserError: If there is no path, or the file is missing or of another kind.
    """
    return SmallBodyPartJudge.load(weights_path(section))
