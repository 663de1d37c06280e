import numpy as np
import pytest
from scipy.linalg import sqrtm

from sr_jax.evaluation.metrics.motion_score import flow_features, motion_score


def _shrunk_reference(samples: np.ndarray, clips: int) -> np.ndarray:
    s = np.cov(samples.T, bias=True)
    p = len(s)
    square, trace = np.trace(s @ s), np.trace(s)
    rho = min(1, ((1 - 2 / p) * square + trace**2) / ((clips + 1 - 2 / p) * (square - trace**2 / p)))
    return (1 - rho) * s + rho * trace / p * np.eye(p)


def test_features_pool_each_cell():
    flow = np.zeros((1, 8, 6, 2))
    flow[0, 2:4, 4:6] = [3.0, -4.0]  # exactly the cell in row 1, column 2
    features = flow_features(flow).reshape(4, 3, 3)
    np.testing.assert_allclose(features[1, 2], [3, -4, 5])
    assert np.count_nonzero(features) == 3


@pytest.mark.parametrize("size", [3, 8])
def test_score_matches_scipy_with_the_shrunk_covariances(size):
    random = np.random.default_rng(0)
    mix = random.normal(size=(size, size))
    a, b = random.normal(size=(9, 5, size)) @ mix, random.normal(0.4, 1.3, (9, 5, size))
    flat_a, flat_b = a.reshape(-1, size), b.reshape(-1, size)
    cov_a, cov_b = _shrunk_reference(flat_a, 9), _shrunk_reference(flat_b, 9)
    expected = np.sum((flat_a.mean(0) - flat_b.mean(0)) ** 2)
    expected += np.trace(cov_a + cov_b - 2 * np.real(sqrtm(cov_a @ cov_b)))
    np.testing.assert_allclose(motion_score(a, b), [expected], rtol=1e-6)


def test_score_of_equal_sets_is_zero_and_still_clips_work():
    a = np.random.default_rng(0).normal(size=(6, 4, 5))
    np.testing.assert_allclose(motion_score(a, a), 0, atol=1e-9)
    still = np.zeros_like(a)
    np.testing.assert_allclose(motion_score(still, still), 0)
    assert motion_score(still, a)[0] > 1


def test_counts_repeat_clips():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(4, 3, 5)), random.normal(size=(4, 3, 5))
    picked = [0, 0, 2, 3]
    scores = motion_score(a, b, np.array([[2, 0, 1, 1], [1, 1, 1, 1]]))
    np.testing.assert_allclose(scores, [motion_score(a[picked], b[picked])[0], motion_score(a, b)[0]])
