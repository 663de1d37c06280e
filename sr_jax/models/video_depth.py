"""Video Depth Anything: depth, consistent along time, of clips of up to 32 frames.

A DINOv2 backbone sees every frame alone; a DPT head joins its features from coarse to fine, and four temporal modules
in the head let every pixel see itself at the other times.

Source: Chen et al. 2025, Video Depth Anything (arXiv 2501.12375); reference class `VideoDepthAnything`
(DepthAnything/Video-Depth-Anything).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models.convolution import square_conv
from sr_jax.models.dinov2 import DINOv2, DINOv2Config
from sr_jax.models.dpt import FeatureFusionBlock, Upscale, resize
from sr_jax.models.temporal_attention import TemporalModule

MAX_FRAMES = 32
"""Frames that one call of a released model can see."""

_OUTPUT_FEATURES = 32
# Frames in one step of those parts that see every frame alone: it bounds the memory, as in the original.
_FRAMES_PER_STEP = 4


@dataclasses.dataclass(frozen=True)
class VideoDepthAnythingConfig:
    """Sizes of the network; see `RELEASED`.

    Attributes:
        backbone: Of the backbone.
        taps: Blocks of the backbone, from 0, whose features the head reads.
        features: Channels of the head's fusion blocks, a multiple of 32.
        out_channels: Channels of the four levels of features, fine to coarse; the last two are multiples of 32.
    """

    backbone: DINOv2Config
    taps: tuple[int, int, int, int]
    features: int
    out_channels: tuple[int, int, int, int]


_BASE_BACKBONE = DINOv2Config(hidden_size=768, num_attention_heads=12)
_LARGE_BACKBONE = DINOv2Config(hidden_size=1024, num_attention_heads=16, num_layers=24)
RELEASED = {
    "small": VideoDepthAnythingConfig(DINOv2Config(), (2, 5, 8, 11), 64, (48, 96, 192, 384)),
    "base": VideoDepthAnythingConfig(_BASE_BACKBONE, (2, 5, 8, 11), 128, (96, 192, 384, 768)),
    "large": VideoDepthAnythingConfig(_LARGE_BACKBONE, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
}
"""The released networks by size."""


class DPTHeadTemporal(nnx.Module):
    """Joins features of four depths into one map of depth (`DPTHeadTemporal`).

    Args:
        config: Of the network.
        rngs: Initialisation keys.
        dtype: Compute type; the last two convolutions are float32.
    """

    def __init__(self, config: VideoDepthAnythingConfig, *, rngs: nnx.Rngs, dtype: DTypeLike):
        features, widths = config.features, config.out_channels
        self.patch_size = config.backbone.patch_size
        options = {"rngs": rngs, "dtype": dtype}
        self.projects = nnx.List([square_conv(config.backbone.hidden_size, width, 1, **options) for width in widths])
        self.upscale_1 = Upscale(widths[0], 4, **options)
        self.upscale_2 = Upscale(widths[1], 2, **options)
        self.downscale_4 = square_conv(widths[3], widths[3], 3, stride=2, **options)
        self.layers_rn = nnx.List([square_conv(width, features, 3, use_bias=False, **options) for width in widths])
        self.motion_modules = nnx.List(
            [TemporalModule(width, **options) for width in (widths[2], widths[3], features, features)]
        )
        # From fine to coarse, as they are numbered in the original.
        self.refinenets = nnx.List([FeatureFusionBlock(features, has_skip=level < 3, **options) for level in range(4)])
        self.output_conv1 = square_conv(features, features // 2, 3, **options)
        self.output_conv2 = square_conv(features // 2, _OUTPUT_FEATURES, 3, rngs=rngs, dtype=jnp.float32)
        self.output_conv3 = square_conv(_OUTPUT_FEATURES, 1, 1, rngs=rngs, dtype=jnp.float32)

    def __call__(self, taps: tuple[Float[Array, "n y x d"], ...], num_frames: int) -> Float[Array, "n h w"]:
        """Returns non-negative depth at `patch_size` times the size of the patch grid.

        Args:
            taps: Features of four depths, shallow to deep; N is the number of clips times that of frames.
            num_frames: Frames of a clip.
        """
        levels = [project(tap) for project, tap in zip(self.projects, taps)]
        levels = [self.upscale_1(levels[0]), self.upscale_2(levels[1]), levels[2], self.downscale_4(levels[3])]
        levels[2] = self._along_time(0, levels[2], num_frames)
        levels[3] = self._along_time(1, levels[3], num_frames)
        levels = [layer(level) for layer, level in zip(self.layers_rn, levels)]
        sizes = [level.shape[1:3] for level in levels]
        path = self._along_time(2, self.refinenets[3](levels[3], sizes[2]), num_frames)
        path = self._along_time(3, self.refinenets[2](path, sizes[1], levels[2]), num_frames)
        output_size = tuple(self.patch_size * side for side in taps[0].shape[1:3])

        def finish(path: Array, second: Array, first: Array) -> Array:
            path = self.refinenets[1](path, sizes[0], second)
            path = self.refinenets[0](path, (2 * sizes[0][0], 2 * sizes[0][1]), first)
            out = resize(self.output_conv1(path), output_size)
            out = jax.nn.relu(self.output_conv2(out.astype(jnp.float32)))
            return jax.nn.relu(self.output_conv3(out))[..., 0]

        return in_steps(finish, path, levels[1], levels[0])

    def _along_time(self, index: int, x: Float[Array, "n h w c"], num_frames: int) -> Float[Array, "n h w c"]:
        return self.motion_modules[index](x.reshape(-1, num_frames, *x.shape[1:])).reshape(x.shape)


class VideoDepthAnything(nnx.Module):
    """Depth of short clips; longer videos need `sr_jax.teachers.depth.video_depth_anything`.

    Args:
        config: Sizes.
        rngs: Initialisation keys.
        dtype: Compute type; norms, softmax and the last convolutions are float32.
    """

    def __init__(self, config: VideoDepthAnythingConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.taps = config.taps
        self.pretrained = DINOv2(config.backbone, rngs=rngs, dtype=dtype)
        self.head = DPTHeadTemporal(config, rngs=rngs, dtype=dtype)

    def __call__(self, frames: Float[Array, "b t h w 3"]) -> Float[Array, "b t h w"]:
        """Estimates depth.

        Args:
            frames: RGB normalised by ImageNet's mean and deviation; height and width are multiples of the patch size
                (14), T is 32 at most.

        Returns:
            float32 depth like disparity: near is large, 0 is far, of any scale and shift.
        """
        b, t, h, w, _ = frames.shape
        taps = in_steps(lambda images: self.pretrained(images, self.taps), frames.reshape(b * t, h, w, 3))
        return self.head(taps, t).reshape(b, t, h, w)


def in_steps(function: Callable[..., Any], *arrays: Array) -> Any:
    """What `function`, which treats every row alone, makes of the arrays; a few rows at a time if they divide so."""
    rows = len(arrays[0])
    if rows <= _FRAMES_PER_STEP or rows % _FRAMES_PER_STEP:
        return function(*arrays)
    split = [array.reshape(-1, _FRAMES_PER_STEP, *array.shape[1:]) for array in arrays]
    results = jax.lax.map(lambda pieces: function(*pieces), tuple(split))
    return jax.tree.map(lambda result: result.reshape(rows, *result.shape[2:]), results)
