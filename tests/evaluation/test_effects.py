import dataclasses
import itertools
import statistics

import numpy as np
import pytest
import scipy.stats

from sr_jax.evaluation.bootstrap import Interval, mean_interval
from sr_jax.evaluation.effects import effect_on_clips, effect_on_sets, holm
from sr_jax.evaluation.metrics.motion_score import motion_score


def test_an_effect_is_the_mean_over_clips_of_differences_averaged_over_seeds():
    rng = np.random.default_rng(0)
    run, control, real, groups = rng.random((3, 8)), rng.random((3, 8)), 3 + rng.random(8), np.arange(8) // 2
    run[0, 3] = control[1, 3] = run[:, 6] = np.nan
    effect = effect_on_clips(run, control, real, groups)
    clips, ours, theirs, gains = [], [], [], []
    for n in range(8):
        seeds = [s for s in range(3) if np.isfinite(run[s, n] - control[s, n])]
        if seeds:
            clips.append(n)
            ours.append(statistics.fmean(run[s, n] for s in seeds))
            theirs.append(statistics.fmean(control[s, n] for s in seeds))
            gains.append(statistics.fmean(real[n] - control[s, n] for s in seeds))
    differences = np.subtract(ours, theirs)
    assert clips == [0, 1, 2, 3, 4, 5, 7]
    np.testing.assert_allclose([effect.run, effect.control], [np.mean(ours), np.mean(theirs)])
    expected = mean_interval(differences, np.unique(groups[clips], return_inverse=True)[1])
    assert dataclasses.astuple(effect.difference) == pytest.approx(dataclasses.astuple(expected))
    by_seed = [np.nanmean((run - control)[seed]) for seed in range(3)]
    np.testing.assert_allclose(effect.by_seed, by_seed)
    np.testing.assert_allclose(effect.seed_deviation, statistics.stdev(by_seed))
    np.testing.assert_allclose(effect.gain.estimate, np.mean(differences) / np.mean(gains))
    assert effect.gain.low < effect.gain.estimate < effect.gain.high


def test_half_of_what_there_is_to_gain_is_half_whatever_people_there_are():
    rng = np.random.default_rng(1)
    control, real = rng.random((2, 30)), 2 + rng.random(30)
    effect = effect_on_clips((control + real) / 2, control, real, np.arange(30))
    np.testing.assert_allclose([effect.gain.low, effect.gain.estimate, effect.gain.high], 0.5)


def test_without_anything_clear_to_gain_there_is_no_share_of_it():
    rng = np.random.default_rng(2)
    control = rng.normal(size=(2, 40))
    effect = effect_on_clips(control + 1, control, rng.normal(size=40), np.arange(40))
    assert effect.gain is None and effect.difference.excludes_zero
    assert effect_on_clips(control[:1], control[:1], control[0], np.arange(40)).seed_deviation is None
    assert effect_on_clips(control[:, :1], control[:, :1], control[0, :1], np.arange(1)) is None


def test_more_seeds_of_the_same_clips_do_not_make_more_people():
    values = np.random.default_rng(3).normal(size=(1, 20))
    zeros = np.zeros_like(values)
    once = effect_on_clips(values, zeros, zeros[0] + 9, np.arange(20))
    often = effect_on_clips(np.tile(values, (5, 1)), np.tile(zeros, (5, 1)), zeros[0] + 9, np.arange(20))
    np.testing.assert_allclose(
        [once.difference.low, once.difference.high], [often.difference.low, often.difference.high]
    )
    np.testing.assert_allclose(often.seed_deviation, 0, atol=1e-12)


def test_an_effect_on_sets_averages_the_seeds_distances():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(2, 2, 9, 3, 4))
    codec, real = rng.normal(size=(2, 9, 3, 4)) * 0.1
    effect = effect_on_sets(features[0], features[1], codec, real, motion_score, np.arange(9))
    run, control = ([motion_score(seed, real)[0] for seed in row] for row in features)
    np.testing.assert_allclose([effect.run, effect.control], [np.mean(run), np.mean(control)])
    np.testing.assert_allclose(effect.difference.estimate, np.mean(run) - np.mean(control))
    np.testing.assert_allclose(effect.by_seed, np.subtract(run, control))
    to_gain = motion_score(codec, real)[0] - np.mean(control)
    np.testing.assert_allclose(effect.gain.estimate, effect.difference.estimate / to_gain)


@pytest.mark.parametrize("seed", range(4))
def test_holm_is_closed_testing_with_bonferroni(seed):
    """A claim holds when Bonferroni's correction rejects every set of claims that it is in (Marcus et al. 1976)."""
    rng = np.random.default_rng(seed)
    p = dict(enumerate(rng.random(5) ** 3))
    sets = [subset for size in range(1, 6) for subset in itertools.combinations(p, size)]
    expected = {
        claim: max(min(1.0, len(subset) * min(p[other] for other in subset)) for subset in sets if claim in subset)
        for claim in p
    }
    assert holm(p) == pytest.approx(expected)
    assert list(holm(p)) == list(p)


def test_p_values_are_those_of_a_normal_mean_for_many_clips():
    rng = np.random.default_rng(5)
    for shift in (0.0, 0.1, 0.2):
        values = rng.normal(shift, 1.0, 400)
        interval = mean_interval(values, np.arange(400))
        expected = 2 * scipy.stats.norm.sf(abs(values.mean()) / (values.std() / np.sqrt(400)))
        assert interval.p_value == pytest.approx(expected, abs=0.04, rel=0.5)
        assert (interval.p_value < 0.05) == interval.excludes_zero
    assert mean_interval(np.ones(10), np.arange(10)).p_value == pytest.approx(2 / 2001)
    assert mean_interval(np.zeros(10), np.arange(10)).p_value == 1


def test_the_smallest_visible_difference_is_seen_four_times_out_of_five():
    """By the power of the t-test, for so many clips that it is that of the normal one."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=2000)
    visible = mean_interval(values - values.mean(), np.arange(2000)).smallest_visible
    noncentrality = visible / (values.std() / np.sqrt(2000))
    power = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, 1999), 1999, noncentrality)
    assert power == pytest.approx(0.8, abs=0.04)
    assert Interval(0.0, -0.7, 0.7, 9, 9, 1.0).smallest_visible == pytest.approx(1.0, abs=0.01)
