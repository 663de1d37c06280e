import numpy as np

from sr_jax.evaluation.bootstrap import Interval, mean_interval, resample_counts, statistic_interval


def test_counts_draw_every_clip_equally_often():
    counts = resample_counts(np.arange(7), resamples=4000, seed=1)
    assert counts.shape == (4000, 7)
    np.testing.assert_array_equal(counts.sum(axis=1), 7)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.06)
    np.testing.assert_array_equal(counts, resample_counts(np.arange(7), resamples=4000, seed=1))


def test_clips_of_one_group_are_drawn_together():
    counts = resample_counts(np.array([0, 1, 0, 2, 1]), resamples=100)
    np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    np.testing.assert_array_equal(counts[:, 1], counts[:, 4])
    np.testing.assert_array_equal(counts[:, [0, 1, 3]].sum(axis=1), 3)


def test_mean_interval_is_the_normal_one_for_many_clips():
    values = np.random.default_rng(0).normal(0.3, 2.0, 400)
    interval = mean_interval(values, np.arange(400))
    half = 1.96 * values.std() / np.sqrt(400)
    assert (interval.clips, interval.groups) == (400, 400)
    np.testing.assert_allclose(interval.estimate, values.mean())
    np.testing.assert_allclose([interval.low, interval.high], values.mean() + np.array([-half, half]), atol=0.03)


def test_repeated_clips_of_a_person_do_not_shrink_the_interval():
    values = np.random.default_rng(0).normal(size=30)
    alone = mean_interval(values, np.arange(30))
    twice = mean_interval(np.tile(values, 2), np.tile(np.arange(30), 2))
    np.testing.assert_allclose([twice.low, twice.high], [alone.low, alone.high])
    assert (twice.clips, twice.groups) == (60, 30)


def test_interval_covers_the_true_mean_about_95_times_in_100():
    random = np.random.default_rng(3)
    intervals = [mean_interval(random.normal(1.0, 1.0, 48), np.arange(48), seed=seed) for seed in range(200)]
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in intervals])
    assert 0.89 <= covered <= 0.99


def test_excludes_zero():
    assert Interval(1.0, 0.1, 2.0, 5, 5, 0.04).excludes_zero
    assert Interval(-1.0, -2.0, -0.1, 5, 5, 0.04).excludes_zero
    assert not Interval(1.0, -0.1, 2.0, 5, 5, 0.04).excludes_zero


def test_a_biased_statistic_keeps_its_estimate_inside():
    values = np.random.default_rng(0).normal(size=20)

    def distinct(counts):
        return (counts > 0).sum(axis=1) + 0.01 * (counts @ values)

    interval = statistic_interval(distinct, 3 * np.arange(20))
    assert interval.low < interval.estimate < interval.high
    assert interval.groups == 20
