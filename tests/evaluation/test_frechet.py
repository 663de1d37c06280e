import numpy as np
import pytest
from scipy.linalg import sqrtm

from sr_jax.evaluation.frechet import frechet_distance, frechet_distances


def _expected(a: np.ndarray, b: np.ndarray) -> float:
    """As the reference implementations of FID and FVD compute it."""
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1])
    difference = a.mean(axis=0) - b.mean(axis=0)
    return float(difference @ difference + np.trace(covariances[0] + covariances[1] - 2 * root.real))


def _features(seed: int, count: int, size: int, *, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((rank or size, size))
    return rng.standard_normal((count, rank or size)) @ mixing + rng.standard_normal(size)


@pytest.mark.parametrize(("count", "other", "size"), [(200, 200, 12), (90, 300, 40), (41, 41, 40)])
def test_the_distance_is_that_of_scipy(count, other, size):
    a, b = _features(0, count, size), _features(1, other, size)
    assert frechet_distance(a, b) == pytest.approx(_expected(a, b), rel=1e-9)


@pytest.mark.parametrize(("count", "rank"), [(10, None), (60, 5), (60, 1)])
def test_covariances_may_lack_rank(count, rank):
    """A root of such a product by Schur's method is off by 1e-4 and more: a rotation gives the exact one."""
    size = 30
    a, b = _features(0, count, size, rank=rank), _features(1, count, size, rank=rank)
    eigenvalues = np.linalg.eigvals(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    traces = sum(np.trace(np.cov(x, rowvar=False)) for x in (a, b))
    difference = a.mean(axis=0) - b.mean(axis=0)
    # Of the eigenvalues, those that are not rounding.
    shared = np.sqrt(eigenvalues[eigenvalues > 1e-9 * eigenvalues.max()]).sum()
    assert frechet_distance(a, b) == pytest.approx(difference @ difference + traces - 2 * shared, rel=1e-6)


def test_known_answers():
    a = _features(0, 50, 8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, a + 2.0) == pytest.approx(4.0 * 8)
    # Of one dimension: the difference of means and of standard deviations.
    x, y = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]])
    assert frechet_distance(x, y) == pytest.approx((2.0 - 1.0) ** 2)


def test_sets_are_of_clips_or_of_their_frames():
    a, b = _features(0, 24, 5).reshape(6, 4, 5), _features(1, 24, 5).reshape(6, 4, 5)
    counts = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 1, 0, 2]])
    found = frechet_distances(a, b, counts)
    drawn = [0, 0, 2, 3, 5, 5]
    expected = [_expected(x.reshape(-1, 5), y.reshape(-1, 5)) for x, y in ((a, b), (a[drawn], b[drawn]))]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    single = frechet_distances(a[:, 0], b[:, 0], counts[:1])
    np.testing.assert_allclose(single, _expected(a[:, 0], b[:, 0]), rtol=1e-5)
