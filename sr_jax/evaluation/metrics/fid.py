"""FID: Fréchet distance between what Inception v3 sees in the frames of generated and of real clips."""

from typing import ClassVar

import ml_collections
import numpy as np
from jaxtyping import Float

from sr_jax.evaluation.frechet import frechet_distances
from sr_jax.evaluation.inception import FEATURES_NAME, FrameFeatures
from sr_jax.evaluation.metrics.base import Clip, Score, SetMetric


class Metric(SetMetric):
    """Fréchet distance of the features of all frames (Heusel et al. 2017)."""

    score = Score(
        "fid",
        "FID",
        "",
        -1,
        2,
        "Fréchet distance between the Inception v3 features of all generated and of all real frames. Few frames bias "
        "it upwards: it compares with FID of as many frames alone, and fewer than 2048 do not determine it.",
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

    value = staticmethod(frechet_distances)
