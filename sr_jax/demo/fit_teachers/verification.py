"""Face verification: how well embeddings tell the same person from another one."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata


def verification_auc(
    embeddings: Float[np.ndarray, "n e"], identities: Sequence[str], clips: Sequence[int] | None = None
) -> float:
    """Area under the ROC curve of cosine similarity over all pairs of faces.

    Args:
        embeddings: Of unit length.
        identities: Whose face each is.
        clips: Which clip each face is from. If given, a pair of the same person counts only when it is from two
            clips, so that a shared background or light cannot help.

    Returns:
        The chance that a random pair of the same person is more similar than a random pair of two people (ties count
        half): 1 is perfect, 0.5 is guessing. NaN when there are no pairs of one kind.
    """
    first, second = np.triu_indices(len(embeddings), k=1)
    names = np.unique(np.asarray(identities), return_inverse=True)[1]
    same = names[first] == names[second]
    counted = np.ones_like(same)
    if clips is not None:
        places = np.asarray(clips)
        counted = ~same | (places[first] != places[second])
    similarity = (embeddings @ embeddings.T)[first, second]
    return roc_auc(similarity[counted], same[counted])


def roc_auc(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve by ranks (the Mann-Whitney statistic); NaN when one class is empty."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
