"""The Fréchet distance between Gaussians that are fitted to two sets of features, exact for any number of samples."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

_DIRECTIONS = 256


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
    traces = sum(np.square(_root(x)).sum() for x in (ours, real))
    difference = ours.mean(axis=0, dtype=np.float64) - real.mean(axis=0, dtype=np.float64)
    return float(np.square(difference).sum() + traces - 2 * _shared_trace(ours, real))


def frechet_distances(
    ours: Float[np.ndarray, "n ..."], real: Float[np.ndarray, "n ..."], counts: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """The distance of each of R sets of clips.

    Exact but for rounding for at most 256 features. Of more, means and the covariances' own traces are exact in every
    set, and so is the distance of all clips counted once. Where sets differ in the trace of the root, they do within
    the 256 directions in which features vary most; what the other directions add to it is that of all clips: thousands
    of exact values of Inception's 2048 features would take hours.

    Args:
        ours: Features of the clips that are scored: one vector each, `[N, D]`, or one a frame, `[N, F, D]`.
        real: The same of the real clips in the same order.
        counts: How often each clip is in each set.
    """
    whole = [x.reshape(len(x), -1, x.shape[-1]).astype(np.float64) for x in (ours, real)]
    (mean_a, trace_a), (mean_b, trace_b) = (_means_and_traces(x, counts) for x in whole)
    directions = _leading_directions(np.concatenate(whole))
    leading = [x @ directions for x in whole]
    everything = np.ones((1, len(ours)), int)
    others = _shared_trace(*map(_samples, whole)) - _shared_traces(*leading, everything)
    shared = _shared_traces(*leading, counts) + others
    return np.square(mean_a - mean_b).sum(axis=1) + trace_a + trace_b - 2 * shared


def _shared_traces(
    ours: Float[np.ndarray, "n f k"], real: Float[np.ndarray, "n f k"], counts: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """The trace of `(S1 S2)^(1/2)` of each set, by the eigenvalues of `L' S2 L` with `L L' = S1`."""
    shared = []
    for a, b in zip(_covariances(ours, counts), _covariances(real, counts), strict=True):
        values, vectors = np.linalg.eigh(a)
        root = vectors * np.sqrt(np.maximum(values, 0))
        shared.append(np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ b @ root), 0)).sum())
    return np.array(shared)


def _covariances(
    features: Float[np.ndarray, "n f k"], counts: Int[np.ndarray, "r n"]
) -> Iterator[Float[np.ndarray, "k k"]]:
    """Of the samples of each set."""
    samples = _samples(features - features.mean(axis=(0, 1)))
    for row in counts:
        weights = np.repeat(row, features.shape[1])
        mean = weights @ samples / weights.sum()
        products = (samples.T * weights) @ samples - weights.sum() * np.outer(mean, mean)
        yield products / max(weights.sum() - 1, 1)


def _means_and_traces(
    features: Float[np.ndarray, "n f d"], counts: Int[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, "r d"], Float[np.ndarray, " r"]]:
    """Mean and trace of the unbiased covariance of the samples of each set."""
    number = counts.sum(axis=1, keepdims=True) * features.shape[1]
    # Around a point amid all samples, so that little is lost in the difference of squares.
    middle = features.mean(axis=(0, 1))
    centred = features - middle
    mean = counts @ centred.sum(axis=1) / number
    squares = counts @ np.square(centred).sum(axis=(1, 2))
    return mean + middle, (squares - number[:, 0] * np.square(mean).sum(axis=1)) / np.maximum(number[:, 0] - 1, 1)


def _leading_directions(features: Float[np.ndarray, "n f d"]) -> Float[np.ndarray, "d k"]:
    """Unit vectors along which these features vary most."""
    samples = _samples(features)
    samples = samples - samples.mean(axis=0)
    if samples.shape[1] <= _DIRECTIONS:
        return np.eye(samples.shape[1])
    return np.linalg.eigh(samples.T @ samples)[1][:, -_DIRECTIONS:]


def _shared_trace(ours: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"]) -> float:
    """The trace of `(S1 S2)^(1/2)`."""
    return float(np.linalg.svd(_root(ours) @ _root(real).T, compute_uv=False).sum())


def _root(samples: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "k d"]:
    """A matrix R with `R' R` the unbiased covariance and no more rows than columns."""
    samples = samples.astype(np.float64)
    # One sample has no covariance.
    root = (samples - samples.mean(axis=0)) / np.sqrt(max(len(samples) - 1, 1))
    return root if len(root) <= root.shape[1] else np.linalg.qr(root, mode="r")


def _samples(features: Float[np.ndarray, "n f d"]) -> Float[np.ndarray, "k d"]:
    return features.reshape(-1, features.shape[-1])
