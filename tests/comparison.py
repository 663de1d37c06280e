"""How far results are from what they should be."""

import numpy as np
from numpy.typing import ArrayLike


def relative_error(ours: ArrayLike, theirs: ArrayLike) -> float:
    """The largest difference over the largest value, of two arrays of the same shape."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
