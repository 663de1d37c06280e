"""KID: squared maximum mean discrepancy between what Inception v3 sees in generated and in real frames."""

from typing import ClassVar

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from sr_jax.evaluation.inception import FEATURES_NAME, FrameFeatures
from sr_jax.evaluation.metrics.base import Clip, Score, SetMetric


class Metric(SetMetric):
    """Unbiased squared discrepancy under a cubic kernel, of all frames (Binkowski et al. 2018)."""

    score = Score(
        "kid",
        "KID",
        "",
        -1,
        5,
        "Squared maximum mean discrepancy between the Inception v3 features of generated and of real frames under the "
        "kernel (x'y / D + 1)^3, unbiased for any number of frames and therefore below 0 at times; all frames are one "
        "subset.",
    )
    features_name: ClassVar[str] = FEATURES_NAME

    def __init__(self, config: ml_collections.ConfigDict):
        """Loads the network.

        Raises:
            UserError: When its weights cannot be had or read.
        """
        self._features = FrameFeatures(config)
        self.about = self._features.about

    def features(self, clip: Clip) -> Float[np.ndarray, "f d"]:
        """Features of every frame."""
        return self._features(clip.video)

    @staticmethod
    def value(
        ours: Float[np.ndarray, "n f d"], real: Float[np.ndarray, "n f d"], counts: Int[np.ndarray, "r n"]
    ) -> Float[np.ndarray, " r"]:
        """See `squared_discrepancies`."""
        return squared_discrepancies(ours, real, counts)


def squared_discrepancies(
    ours: Float[np.ndarray, "n f d"], real: Float[np.ndarray, "n f d"], counts: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """The unbiased estimate of MMD^2 for each of R sets of clips (Gretton et al. 2012, equation 3).

    Subsets of 1000, over which the usual implementations average, estimate the same with more noise. Kernels are summed
    over the frames of every two clips once, so that a further set costs next to nothing.

    Args:
        ours: Features of the frames of the clips that are scored.
        real: Of the real clips.
        counts: How often each clip is in each set.
    """
    weights = counts.astype(np.float64)
    samples = weights.sum(axis=1) * ours.shape[1]
    within = 0.0
    for features in (ours, real):
        pairs = np.einsum("rn,nm,rm->r", weights, _kernel_sums(features, features), weights)
        # No sample is paired with itself.
        own = weights @ _kernel(np.square(features.astype(np.float64)).sum(axis=-1), ours.shape[-1]).sum(axis=1)
        within = within + (pairs - own) / (samples * (samples - 1))
    across = np.einsum("rn,nm,rm->r", weights, _kernel_sums(ours, real), weights) / samples**2
    return within - 2 * across


def _kernel_sums(a: Float[np.ndarray, "n f d"], b: Float[np.ndarray, "m f d"]) -> Float[np.ndarray, "n m"]:
    """The kernel summed over all frames of clip n and all of clip m; never more than a row of clips in memory."""
    flat = b.astype(np.float64).reshape(-1, b.shape[-1])
    rows = [_kernel(clip.astype(np.float64) @ flat.T, a.shape[-1]).sum(axis=0) for clip in a]
    return np.stack(rows).reshape(len(a), len(b), -1).sum(axis=-1)


def _kernel(product: Float[np.ndarray, "..."], size: int) -> Float[np.ndarray, "..."]:
    return (product / size + 1) ** 3
