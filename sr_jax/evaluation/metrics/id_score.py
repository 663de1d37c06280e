"""ID score: does the person keep the face of the first frame?"""

import numpy as np
from jaxtyping import Bool, Float

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, mean_where_defined


class Metric(ClipMetric):
    """Cosine of the face in every frame to the face in the real first frame."""

    score = Score(
        "id_score",
        "ID score",
        "",
        +1,
        3,
        "A judge face recogniser compares the face in every generated frame with the face in the real first frame: "
        "mean cosine over the frames in which the judge's detector finds a face. Clips whose first frame shows no face "
        "are left out.",
        by_frame="cosine to the real first frame",
        paper_finds_better=True,
    )
    needs = frozenset({"faces"})

    def measure(self, clip: Clip) -> Measurement:
        """Not defined for a clip whose real first frame, or none of whose own frames, shows a face."""
        real = clip.reference_faces
        similarity = identity_similarity(clip.faces.embeddings, clip.faces.found & real.found[0], real.embeddings[0])
        return Measurement(mean_where_defined(similarity), similarity)


def identity_similarity(
    embeddings: Float[np.ndarray, "f e"], present: Bool[np.ndarray, " f"], anchor: Float[np.ndarray, " e"]
) -> Float[np.ndarray, " f"]:
    """Cosine of every frame's face to the anchor face (the paper's ID score before the mean).

    Args:
        embeddings: Unit-length embeddings `[F, E]`.
        present: Whether each frame shows a face, `[F]`.
        anchor: Unit-length embedding of the face in the real first frame.

    Returns:
        Cosines `[F]` in [-1, 1], NaN where no face was found. Higher is better.
    """
    return np.where(present, embeddings @ anchor, np.nan)
