import numpy as np
import pytest

from sr_jax.demo.fit_teachers.verification import roc_auc, verification_auc


def test_auc_equals_counting_pairs():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.3
    wins = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert roc_auc(scores, positive) == pytest.approx(np.mean(wins))
    assert np.isnan(roc_auc(scores, np.ones(60, bool)))


def angle(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def test_verification_compares_all_pairs():
    embeddings = angle(0, 10, 90, 120)
    assert verification_auc(embeddings, ["a", "a", "b", "b"]) == 1
    # a-a is 50 degrees; of the other pairs only one is nearer.
    assert verification_auc(angle(0, 50, 90), ["a", "a", "b"]) == pytest.approx(0.5)


def test_pairs_across_clips_leave_out_a_clips_own_pairs():
    embeddings = angle(0, 1, 80, 60)
    people, clips = ["a", "a", "a", "b"], [0, 0, 1, 2]
    within = verification_auc(embeddings, people)
    across = verification_auc(embeddings, people, clips)
    assert across < within
    # Same person over two clips: 80 and 79 degrees; two people: 60, 59 and 20 degrees.
    assert across == 0
    assert np.isnan(verification_auc(embeddings, people, [0, 0, 0, 1]))
