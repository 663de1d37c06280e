"""Frames through a network, some at a time."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float, Shaped


def in_batches(
    network: Callable[..., Array], *inputs: Shaped[np.ndarray, "f ..."], size: int
) -> Float[np.ndarray, "f ..."]:
    """What a network gives for all frames.

    Args:
        network: From a batch of each input to a result with a row for each frame.
        inputs: Of all frames, in the same order.
        size: Frames of a batch; the last one is filled up, so that one shape is compiled.
    """
    results = []
    for start in range(0, len(inputs[0]), size):
        batch = [array[start : start + size] for array in inputs]
        count = len(batch[0])
        filled = [np.concatenate([array, np.repeat(array[-1:], size - count, axis=0)]) for array in batch]
        results.append(np.asarray(network(*filled))[:count])
    return np.concatenate(results)
