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


@pytest.mark.parametrize(("count", "size"), [(200, 12), (60, 50), (400, 300)])
def test_the_distance_is_that_of_torchmetrics(original, count, size):
    # Sixteenths, which are the same on every machine.
    a, b = (np.random.default_rng(seed).integers(0, 40 + 8 * seed, (count, size)) / 16 for seed in (0, 1))
    expected = original("set_scores").frechet_distance(a, b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(frechet_distances(a, b, np.ones((1, count), int)), expected, rtol=1e-6)


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


def _of_many_features(seed: int, clips: int, frames: int, size: int) -> np.ndarray:
    """Whose variance falls off as that of a network's features does, and whose frames resemble each other."""
    rng = np.random.default_rng(seed)
    scales = 1 / np.arange(1, size + 1)
    person = rng.standard_normal((clips, 1, size)) * scales
    return person + 0.5 * rng.standard_normal((clips, frames, size)) * scales + 0.1 * seed * scales


def test_sets_of_many_features_have_the_distances_of_their_samples():
    a, b = (_of_many_features(seed, 60, 6, 400) for seed in (0, 1))
    rng = np.random.default_rng(2)
    counts = np.concatenate([np.ones((1, 60), int), rng.multinomial(60, np.full(60, 1 / 60), size=20)])
    expected = np.array(
        [frechet_distance(*(np.repeat(x, row, axis=0).reshape(-1, 400) for x in (a, b))) for row in counts]
    )
    found = frechet_distances(a, b, counts)
    # Of all clips it is exact.
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    # How the others spread is what an interval is made of.
    assert np.abs(found[1:] - expected[1:]).max() < 0.02 * expected[1:].std()
    assert expected[1:].std() > 0.03 * expected[0]
