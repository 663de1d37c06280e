"""The paper's depth teacher: Video Depth Anything, with its released weights.

Source: Chen et al. 2025, Video Depth Anything (arXiv 2501.12375). The weights of `small` are under Apache-2.0, those of
`base` and `large` under CC-BY-NC-4.0.
"""

import dataclasses
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from sr_jax.conversion.hub import download_file
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.conversion.video_depth import params_from_state_dict
from sr_jax.errors import UserError
from sr_jax.models.dpt import resize
from sr_jax.models.functional import Functional, Params
from sr_jax.models.video_depth import RELEASED, VideoDepthAnything, VideoDepthAnythingConfig
from sr_jax.sections import Section, value
from sr_jax.teachers.base import DepthTeacher, file_hash
from sr_jax.teachers.depth.windows import video_depth
from sr_jax.teachers.imagenet import normalise

INPUT_SIZE = 518
"""Shorter side of the network's input in the released setting."""

# From this aspect ratio on, the input is made smaller, so that its area stays about that of 16:9.
_WIDE, _WIDE_SIZE = 1.78, 1.777


@dataclasses.dataclass(frozen=True)
class Release:
    """Where the weights of one size are published.

    Attributes:
        repository: On the Hugging Face hub.
        file: In it.
    """

    repository: str
    file: str


RELEASES = {
    size: Release(f"depth-anything/Video-Depth-Anything-{size.title()}", f"video_depth_anything_vit{size[0]}.pth")
    for size in RELEASED
}
"""The released models of relative depth by size. Their metric siblings give metres: another thing than disparity."""


def load(section: Section) -> DepthTeacher:
    """Loads `{"name": "video_depth_anything", "size": "small", "path": FILE, "input_size": 518, "dtype": "float32"}`.

    With an empty `path` the weights come from the Hugging Face hub. The last two entries may be left out.

    Raises:
        UserError: For an unknown size, a missing entry or weights that cannot be had.
    """
    return VideoDepthAnythingTeacher.load(
        value(section, "size"),
        Path(section["path"]) if value(section, "path") else None,
        input_size=section.get("input_size", INPUT_SIZE),
        dtype=section.get("dtype", "float32"),
    )


class VideoDepthAnythingTeacher(DepthTeacher):
    """`DepthTeacher` by Video Depth Anything, in windows of 32 frames.

    Attributes:
        name: `video_depth_anything`, its size and the shorter side of its input.
        weight_hash: Hash of the weights' file.
    """

    def __init__(
        self,
        config: VideoDepthAnythingConfig,
        params: Params,
        *,
        name: str,
        weight_hash: str,
        input_size: int = INPUT_SIZE,
        dtype: DTypeLike = jnp.float32,
    ):
        """Compiles on first use, for each size of frames.

        Args:
            config: Sizes of the network.
            params: Its parameters.
            name: Names the teacher in provenance.
            weight_hash: Names the weights in provenance.
            input_size: Shorter side of the network's input in pixels, a multiple of its patch size.
            dtype: Compute type; the released setting is half precision on a GPU.

        Raises:
            UserError: If the input size is no multiple of the patch size.
        """
        self._patch = config.backbone.patch_size
        if input_size < self._patch or input_size % self._patch:
            raise UserError(f"the depth teacher's input_size is {input_size}: use a multiple of {self._patch}")
        self.name, self.weight_hash = name, weight_hash
        self._input_size = input_size
        self._params = jax.device_put(params)
        network = Functional(lambda rngs: VideoDepthAnything(config, rngs=rngs, dtype=dtype))

        def estimate(params: Params, inputs: Array, size: tuple[int, int]) -> Array:
            return resize(network.apply(params, inputs[None])[0][..., None], size)[..., 0]

        self._estimate = jax.jit(estimate, static_argnums=2)

    @classmethod
    def load(
        cls, size: str, path: Path | None, *, input_size: int = INPUT_SIZE, dtype: DTypeLike = jnp.float32
    ) -> "VideoDepthAnythingTeacher":
        """Loads released weights.

        Args:
            size: `small`, `base` or `large`.
            path: The released `.pth` file, or the same tensors as `.safetensors`; None downloads it from the hub.
            input_size: Shorter side of the network's input in pixels.
            dtype: Compute type.

        Raises:
            UserError: If the size is unknown, or the weights cannot be had, do not fit it or are of a metric model.
        """
        if size not in RELEASED:
            raise UserError(f"no Video Depth Anything of size {size!r}: choose one of {', '.join(RELEASED)}")
        path = path or download_file(RELEASES[size].repository, RELEASES[size].file)
        if path.name.lower().startswith("metric_"):
            raise UserError(
                f"{path} is called like the weights of a metric model, which give distances and not disparity: use "
                f"{RELEASES[size].file}, or have its program write depth beside the videos (depth.name=precomputed, "
                "depth.kind=depth)"
            )
        try:
            params = params_from_state_dict(RELEASED[size], read_state_dict(path))
        except UserError as error:
            raise UserError(f"{path} is not Video Depth Anything of size {size}: {error}") from error
        name = f"video_depth_anything_{size}_{input_size}"
        return cls(RELEASED[size], params, name=name, weight_hash=file_hash(path), input_size=input_size, dtype=dtype)

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        """Returns float32 values like disparity (near is large, never negative) for all frames of one video.

        Args:
            frames: All RGB frames of the video.
            fps: Frames a second; not used, but the network was trained on videos of natural speed.
            path: The video file; not used.
        """
        del fps, path
        size = frames.shape[1:3]
        inner = input_size_for(size, self._input_size, self._patch)
        return video_depth(
            frames,
            lambda frame: prepare(frame, inner),
            lambda inputs: np.asarray(self._estimate(self._params, inputs, size)),
        )


def input_size_for(size: tuple[int, int], input_size: int, patch: int) -> tuple[int, int]:
    """Height and width of the network's input for frames of some height and width.

    The shorter side becomes `input_size`, the longer one keeps the aspect ratio; both are multiples of `patch`. Of
    frames wider than 16:9 (or taller than 9:16) the shorter side becomes less.
    """
    ratio = max(size) / min(size)
    if ratio > _WIDE:
        input_size = max(round(int(input_size * _WIDE_SIZE / ratio) / patch), 1) * patch
    scale = input_size / min(size)
    height, width = (max(round(scale * side / patch) * patch, input_size) for side in size)
    return height, width


def prepare(frame: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Float[np.ndarray, "y x 3"]:
    """A frame as the network's input: resized (cubic, in floating point), then normalised by ImageNet's statistics."""
    resized = cv2.resize(frame.astype(np.float32) / 255, size[::-1], interpolation=cv2.INTER_CUBIC)
    return normalise(resized)
