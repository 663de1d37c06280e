"""The Fréchet distance between Gaussians that are fitted to two sets of features, exact for any number of samples."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int


def frechet_distance(ours: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"]) -> float:
    """Squared Fréchet distance `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` (Heusel et al. 2017, equation 6).

    With unbiased covariances S. In terms of centred samples `A' A = S1` and `B' B = S2`, the eigenvalues of `S1 S2` are
    the squared singular values of `A B'`, whose sum is therefore the trace of the root: no root of a matrix is taken,
    and covariances may be of any rank. N samples bias the distance upwards by about 1 / N: it compares with distances
    of the same N alone.

    Args:
        ours: Features of one set.
        real: Features of the other.

    Returns:
        The distance, at least 0 but for rounding.
    """
    mean_a, root_a = _moments(ours)
    mean_b, root_b = _moments(real)
    traces = np.square(root_a).sum() + np.square(root_b).sum()
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(np.square(mean_a - mean_b).sum() + traces - 2 * shared)


def frechet_distances(
    ours: Float[np.ndarray, "n ..."], real: Float[np.ndarray, "n ..."], counts: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """The distance of each of R sets of clips.

    Args:
        ours: Features of the clips that are scored: one vector each, `[N, D]`, or one a frame, `[N, F, D]`.
        real: The same of the real clips in the same order.
        counts: How often each clip is in each set.
    """
    return np.array([frechet_distance(*pair) for pair in _sets(ours, real, counts)])


def _sets(
    ours: Float[np.ndarray, "n ..."], real: Float[np.ndarray, "n ..."], counts: Int[np.ndarray, "r n"]
) -> Iterator[tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k d"]]]:
    for row in counts:
        drawn = np.repeat(np.arange(len(row)), row)
        yield ours[drawn].reshape(-1, ours.shape[-1]), real[drawn].reshape(-1, real.shape[-1])


def _moments(features: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "k d"]]:
    """The mean, and a matrix R with `R' R` the unbiased covariance and no more rows than columns."""
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    # One sample has no covariance.
    root = (features - mean) / np.sqrt(max(len(features) - 1, 1))
    return mean, root if len(root) <= root.shape[1] else np.linalg.qr(root, mode="r")
