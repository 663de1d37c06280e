"""Motion score: Fréchet distance between the optical flow of generated clips and that of real clips."""

import numpy as np
from jaxtyping import Float, Int

from sr_jax.evaluation.metrics.base import Clip, Score, SetMetric

_GRID = (4, 3)


def flow_features(flow: Float[np.ndarray, "f h w 2"]) -> Float[np.ndarray, "f d"]:
    """Flow pooled on a coarse grid: in every cell the mean x, the mean y and the mean length.

    Args:
        flow: Output of `flow.optical_flow`.

    Returns:
        One feature vector a frame step, `[F, 4 * 3 * 3]`, in the unit of `flow`.
    """
    length = np.linalg.norm(flow, axis=-1, keepdims=True)
    channels = np.concatenate([flow, length], axis=-1)
    rows = [np.array_split(band, _GRID[1], axis=2) for band in np.array_split(channels, _GRID[0], axis=1)]
    return np.concatenate([cell.mean(axis=(1, 2)) for row in rows for cell in row], axis=-1)


def motion_score(
    generated: Float[np.ndarray, "n f d"],
    reference: Float[np.ndarray, "n f d"],
    counts: Int[np.ndarray, "r n"] | None = None,
) -> Float[np.ndarray, " r"]:
    """Squared Fréchet distance between Gaussians fitted to the flow features of two sets of clips.

    The paper's motion score (Table 1) with light features: grid-pooled DIS flow. Its values therefore cannot be
    compared with the paper's, only with each other. The covariances are shrunk (see `_shrunk`), because a small set
    of clips does not determine them.

    Args:
        generated: Features of the generated clips, `[N, F, D]`.
        reference: Features of the real clips in the same order.
        counts: How often each clip counts in each of R sets, for the bootstrap; by default one set with each once.

    Returns:
        The distance for each set, `[R]`, in squared units of the features. Lower is better.
    """
    if counts is None:
        counts = np.ones((1, len(generated)), int)
    mean_a, covariance_a = _moments(generated, counts)
    mean_b, covariance_b = _moments(reference, counts)
    # tr((A B)^1/2) through the symmetric L' B L with A = L L', which has the eigenvalues of A B and needs no complex
    # numbers. The tiny diagonal gives still clips, whose covariance is 0, a root.
    root = np.linalg.cholesky(covariance_a + 1e-12 * np.eye(covariance_a.shape[-1]))
    product = np.swapaxes(root, -1, -2) @ covariance_b @ root
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0)).sum(axis=-1)
    traces = np.trace(covariance_a, axis1=-2, axis2=-1) + np.trace(covariance_b, axis1=-2, axis2=-1)
    return np.square(mean_a - mean_b).sum(axis=-1) + traces - 2 * shared


def _moments(
    features: Float[np.ndarray, "n f d"], counts: Int[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, "r d"], Float[np.ndarray, "r d d"]]:
    """Mean and shrunk covariance of each set of clips, from sums that are made once a clip."""
    samples = counts.sum(axis=1) * features.shape[1]
    mean = counts @ features.sum(axis=1) / samples[:, None]
    products = np.einsum("nfd,nfe->nde", features, features)
    second = np.tensordot(counts, products, axes=1) / samples[:, None, None]
    return mean, _shrunk(second - mean[:, :, None] * mean[:, None, :], counts.sum(axis=1))


def _shrunk(covariance: Float[np.ndarray, "r d d"], clips: Int[np.ndarray, " r"]) -> Float[np.ndarray, "r d d"]:
    """Oracle-approximating shrinkage towards a multiple of the identity (Chen et al. 2010, equation 23).

    The number of samples is taken to be the number of clips: the frame steps of one clip are far from independent.
    """
    size = covariance.shape[-1]
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    trace_of_square = np.square(covariance).sum(axis=(-2, -1))
    numerator = (1 - 2 / size) * trace_of_square + trace**2
    denominator = (clips + 1 - 2 / size) * (trace_of_square - trace**2 / size)
    # A multiple of the identity (still clips, for one) has denominator 0: shrinking it changes nothing.
    weight = np.minimum(1, numerator / np.where(denominator > 0, denominator, np.inf))[:, None, None]
    return (1 - weight) * covariance + weight * (trace / size)[:, None, None] * np.eye(size)


class Metric(SetMetric):
    """Squared Fréchet distance of flow features."""

    score = Score(
        "motion_score",
        "Motion score",
        "",
        -1,
        2,
        "Squared Fréchet distance between the optical flow of the generated clips and of the real clips, over the "
        "whole set: DIS flow in percent of the frame's height per frame, pooled on a grid of 4 x 3 cells, covariances "
        "shrunk.",
        paper_finds_better=True,
    )
    features_name = "flow"

    def features(self, clip: Clip) -> Float[np.ndarray, "f d"]:
        """See `flow_features`."""
        return flow_features(clip.flow)

    value = staticmethod(motion_score)
