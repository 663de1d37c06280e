import numpy as np
import pytest

from sr_jax.evaluation.metrics.kid import squared_discrepancies


def _expected(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate, pair by pair, as it is written (torch-fidelity's `polynomial_mmd` over one subset)."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within += sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within - 2 * np.mean([[kernel(a, b) for b in y] for a in x])


def _features(seed: int, shape: tuple[int, ...], shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape) + shift


def test_it_is_the_unbiased_estimate_over_all_frames():
    for shape in ((4, 3, 5), (7, 1, 11)):
        ours, real = _features(0, shape, 0.5), _features(1, shape)
        found = squared_discrepancies(ours, real, np.ones((1, shape[0]), int))
        np.testing.assert_allclose(found, _expected(ours.reshape(-1, shape[2]), real.reshape(-1, shape[2])), rtol=1e-10)


@pytest.mark.parametrize("shape", [(6, 2, 16), (5, 1, 300)])
def test_it_is_that_of_torchmetrics(original, shape):
    # Sixteenths, which are the same on every machine.
    ours, real = (np.random.default_rng(seed).integers(0, 40, shape) / 16 for seed in (0, 1))
    expected = original("set_scores").kernel_distance(*(x.reshape(-1, shape[2]) for x in (ours, real)))
    found = squared_discrepancies(ours, real, np.ones((1, shape[0]), int))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_resampled_sets_are_as_if_their_clips_were_there():
    ours, real = _features(0, (5, 2, 4), 0.3), _features(1, (5, 2, 4))
    counts = np.array([[2, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 3, 0, 2]])
    expected = []
    for row in counts:
        drawn = np.repeat(np.arange(5), row)
        expected.append(_expected(ours[drawn].reshape(-1, 4), real[drawn].reshape(-1, 4)))
    np.testing.assert_allclose(squared_discrepancies(ours, real, counts), expected, rtol=1e-10)


def test_it_is_unbiased_where_the_sets_are_alike_and_grows_with_their_distance():
    alike = [
        squared_discrepancies(_features(2 * s, (20, 1, 8)), _features(2 * s + 1, (20, 1, 8)), np.ones((1, 20), int))[0]
        for s in range(60)
    ]
    assert abs(np.mean(alike)) < 4 * np.std(alike) / np.sqrt(60) and min(alike) < 0
    shifted = [
        squared_discrepancies(_features(0, (20, 1, 8), shift), _features(1, (20, 1, 8)), np.ones((1, 20), int))[0]
        for shift in (0.0, 0.5, 1.0, 2.0)
    ]
    assert shifted == sorted(shifted) and shifted[1] > 0
