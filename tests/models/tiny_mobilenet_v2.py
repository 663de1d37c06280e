"""A tiny MobileNetV2 with random weights, which are named as in torchvision."""

from collections.abc import Mapping

import numpy as np

from sr_jax.models.mobilenet_v2 import MobileNetV2Config
from tests.originals.recording import random_weights

# Of the network in `tests.originals`: a block without widening, one that adds its input, two that halve.
SIZES = {"stem": 4, "stages": ((1, 4, 1, 1), (2, 6, 2, 2), (3, 8, 1, 2)), "features": 24, "classes": 9}
TINY = MobileNetV2Config(SIZES["stem"], SIZES["stages"], SIZES["features"])


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every one random, so that none is without effect; variances are positive."""

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        if name.endswith("num_batches_tracked"):
            return np.zeros(shape)
        if len(shape) > 1:
            return np.sqrt(np.float32(2)) * noise / np.sqrt(np.float32(np.prod(shape[1:])))
        if name.endswith(("running_mean", "bias")):
            return np.float32(0.3) * noise
        return 1 + np.float32(0.3) * noise

    tensors = random_weights(shapes, 0, rule)
    return {name: t.astype(np.int64) if name.endswith("tracked") else t for name, t in tensors.items()}
