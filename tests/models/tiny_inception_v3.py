"""Random weights of an Inception v3, which are named as in pytorch-fid; widths are divided by 16."""

from collections.abc import Mapping

import numpy as np

from tests.originals.recording import random_weights

DIVISOR = 16


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
