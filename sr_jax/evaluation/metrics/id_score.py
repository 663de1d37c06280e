"""ID score: does the person keep the face of the reference image, which is the real first frame by default?"""

import numpy as np
from jaxtyping import Bool, Float

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score, mean_where_defined


class Metric(ClipMetric):
    """Cosine of the face in every frame to the face in the reference image."""

    score = Score(
        "id_score",
        "ID score",
        "",
        +1,
        3,
        "A judge face recogniser compares the face in every generated frame with the face in the real first frame, or "
        "in the reference image that was given: mean cosine over the frames in which the judge's detector finds a "
        "face. Clips whose first frame shows no face are left out.",
        by_frame="cosine to the real first frame",
        paper_finds_better=True,
    )
    needs = frozenset({"faces"})
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """Not defined for a clip whose reference image, or none of whose own frames, shows a face."""
        similarity = similarity_to_anchor(clip)
        return Measurement(mean_where_defined(similarity), similarity)


def similarity_to_anchor(clip: Clip) -> Float[np.ndarray, " f"]:
    """`identity_similarity` of all frames to the face in the reference image; all NaN where that shows none."""
    anchor = clip.reference_faces if clip.image_faces is None else clip.image_faces
    return identity_similarity(clip.faces.embeddings, clip.faces.found & anchor.found[0], anchor.embeddings[0])


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
