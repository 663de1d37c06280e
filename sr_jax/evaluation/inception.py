"""What the Inception v3 of FID sees in frames; FID and KID share it."""

import hashlib
from collections.abc import Callable, Mapping

import jax
import ml_collections
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.conversion.inception_v3 import params_from_state_dict
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.evaluation.batches import in_batches
from sr_jax.evaluation.weights import KnownFile
from sr_jax.models.functional import Functional
from sr_jax.models.inception_v3 import InceptionV3

WEIGHTS = KnownFile(
    "pt_inception-2015-12-05-6726825d.pth", "6726825d", "pytorch-fid (mseitz.de, Apache-2.0)", "inception_path"
)
FEATURES_NAME = "inception"
"""Of the features in `metrics.npz`."""
_SIDE = 299
_BATCH = 16


class FrameFeatures:
    """Features of every frame.

    Attributes:
        about: Network and convention, for results.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        """Loads the network.

        Raises:
            UserError: When its weights cannot be had or read.
        """
        path = WEIGHTS.locate(config.inception_path)
        apply = _network(read_state_dict(path))
        self._features = lambda frames: apply(np.stack([prepare(frame) for frame in frames]))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.about: Mapping[str, str] = {
            "network": WEIGHTS.name,
            "sha256": digest,
            "frames": "all",
            "size": "299x299, stretched, bilinear as in TensorFlow 1, without antialiasing",
        }

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "f d"]:
        """The features, `[F, 2048]`."""
        return in_batches(self._features, frames, size=_BATCH)


def prepare(frame: UInt8[np.ndarray, "h w 3"], side: int = _SIDE) -> Float[np.ndarray, "{side} {side} 3"]:
    """A frame as the TensorFlow graph of FID sees it, in [-1, 1) (torch-fidelity: its resize of TensorFlow 1).

    Samples lie at multiples of the scale, not in the middles of pixels, and nothing is averaged.
    """
    values = frame.astype(np.float32)
    for axis in (0, 1):
        places = np.arange(side, dtype=np.float32) * np.float32(values.shape[axis] / side)
        below = places.astype(int)
        above = np.minimum(below + 1, values.shape[axis] - 1)
        share = (places - below).reshape(-1, 1, 1) if axis == 0 else (places - below).reshape(-1, 1)
        low, high = values.take(below, axis), values.take(above, axis)
        values = low + (high - low) * share
    return (values - 128) / 128


def _network(tensors: Mapping[str, np.ndarray]) -> Callable[[Float[np.ndarray, "n h w 3"]], Array]:
    params = jax.device_put(params_from_state_dict(tensors))
    network = Functional(lambda rngs: InceptionV3(rngs=rngs))
    apply = jax.jit(network.apply)
    return lambda images: apply(params, images)
