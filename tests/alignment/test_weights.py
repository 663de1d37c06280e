"""Weights over time against their closed forms, step by step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_jax.alignment.weights import (
    DECAYS,
    NOISE_WEIGHTINGS,
    SIMILARITY_DECAY,
    RunningSimilarity,
    WeightSchedule,
    noise_share,
    weight_schedule,
)
from sr_jax.configs import stage_two
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError


class _Process(VPrediction):
    """Times fall from 8, clean, to -2, pure noise."""

    def __init__(self):
        super().__init__()
        self.clean_time, self.noise_time = 8, -2

    def snr(self, times):
        share = (8.0 - times) / 10.0
        return ((1 - share) / share) ** 2


def _closed_form(schedule, step):
    """The weight at a step, in plain Python."""
    falls = step - schedule.warmup_steps - schedule.hold_steps
    if schedule.off_after and step >= schedule.off_after:
        return 0.0
    if step < schedule.warmup_steps:
        return schedule.weight * step / schedule.warmup_steps
    if schedule.decay == "none" or falls < 0:
        return schedule.weight
    done = min(falls / schedule.decay_steps, 1.0)
    left = 1 - done if schedule.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
    return schedule.weight * (schedule.final_share + (1 - schedule.final_share) * left)


@st.composite
def _schedules(draw):
    steps = st.integers(0, 40)
    decay = draw(st.sampled_from(DECAYS))
    falling = {}
    if decay != "none":
        share = draw(st.sampled_from([0.0, 0.25, 1.0]))
        falling = {"hold_steps": draw(steps), "decay_steps": 1 + draw(steps), "final_share": share}
    weight = draw(st.sampled_from([0.002, 0.5, 3.0]))
    return WeightSchedule(weight, warmup_steps=draw(steps), decay=decay, off_after=draw(steps) * 3, **falling)


@settings(max_examples=40, deadline=None)
@given(_schedules())
def test_the_weight_at_every_step_is_its_closed_form(schedule):
    steps = np.arange(130)
    got = np.asarray(jax.vmap(schedule.value)(jnp.asarray(steps, jnp.int32)))
    expected = np.array([_closed_form(schedule, int(step)) for step in steps])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * schedule.weight)
    # What is 0 is exactly 0, and nothing else is.
    np.testing.assert_array_equal(got == 0, expected == 0)


def test_a_section_that_says_nothing_of_it_means_a_constant_weight():
    schedule = weight_schedule("mine", {"weight": 0.01, "module": "W1", "objective": "mine:build"})
    assert schedule == WeightSchedule(0.01) and not schedule.changes and not schedule.never_counts
    assert all(schedule.value(jnp.int32(step)) == np.float32(0.01) for step in (0, 1, 10**6))
    np.testing.assert_array_equal(schedule.noise_factor(jnp.array([8, 3, -2]), _Process()), 1)
    assert weight_schedule("mine", {"weight": 0.0, "warmup_steps": 5}).never_counts


@pytest.mark.parametrize(
    "keys", [{"warmup_steps": 1}, {"decay": "linear", "decay_steps": 1}, {"off_after": 1}, {"off_when_similar": 0.5}]
)
def test_what_changes_over_time_is_known(keys):
    assert weight_schedule("mine", {"weight": 1.0, **keys}).changes


def test_the_config_declares_all_of_it_with_its_defaults():
    config = stage_two.get_config("tiny")
    for name, weight in (("structure", 0.01), ("identity", 1.0)):
        assert weight_schedule(name, config.alignment[name].to_dict()) == WeightSchedule(weight)
    declared = stage_two.STAGE_TWO_KEYS["alignment"].part.always
    assert set(declared) == set(WeightSchedule.__dataclass_fields__)
    assert (declared["decay"].choices, declared["noise_weighting"].choices) == (DECAYS, NOISE_WEIGHTINGS)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"decay": "steps"}, r"mine\.decay is 'steps': choose one of none, linear, cosine$"),
        ({"noise_weighting": "snr"}, r"mine\.noise_weighting is 'snr': choose one of none, linear, signal$"),
        ({"decay": "cosine"}, r"mine\.decay is 'cosine' and takes no steps: set config\.alignment\.mine\.decay_steps$"),
        ({"decay_steps": 5}, r"mine\.decay_steps is of a decay, and there is none: set config\.alignment\.mine\.decay"),
        ({"hold_steps": 5}, r"mine\.hold_steps is of a decay"),
        ({"final_share": 0.5}, r"mine\.final_share is of a decay"),
        ({"least_noise": 0.7, "largest_noise": 0.5}, r"mine\.least_noise is 0\.7, more than its largest_noise 0\.5"),
    ],
)
def test_what_says_nothing_together_is_one_line(keys, message):
    with pytest.raises(UserError, match=rf"^config\.alignment\.{message}"):
        weight_schedule("mine", {"weight": 1.0, **keys})


def test_a_range_of_noise_has_both_its_ends_and_nothing_outside_of_it():
    times = jnp.arange(8, -3, -1)
    np.testing.assert_allclose(noise_share(times, _Process()), np.arange(11) / 10, rtol=1e-6)
    factor = WeightSchedule(1.0, least_noise=0.2, largest_noise=0.7).noise_factor(times, _Process())
    np.testing.assert_array_equal(factor, [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_weightings_go_by_share_and_by_signal(low):
    times, share = jnp.arange(8, -3, -1), np.arange(11) / 10
    inside = share >= low
    linear = WeightSchedule(1.0, least_noise=low, noise_weighting="linear").noise_factor(times, _Process())
    np.testing.assert_allclose(linear, inside * (1 - share), atol=1e-6)
    # The variance of clean latents and noise is 1: a part (1 - share)^2 and share^2 of it. The ratio is infinite at
    # one end and 0 at the other.
    signal = WeightSchedule(1.0, least_noise=low, noise_weighting="signal").noise_factor(times, _Process())
    np.testing.assert_allclose(signal, inside * (1 - share) ** 2 / ((1 - share) ** 2 + share**2), atol=1e-6)


@pytest.mark.parametrize(("threshold", "gives_off"), [(0.55, True), (0.99, False)])
def test_the_running_similarity_is_a_mean_and_then_decays(threshold, gives_off):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 0.7, 300)
    running, expected, off = RunningSimilarity.start(), 0.0, []
    update = jax.jit(RunningSimilarity.updated, static_argnames="threshold")
    for number, value in enumerate(values, start=1):
        running = update(running, jnp.float32(value * 3), jnp.int32(3), threshold=threshold)
        # Of the first hundred the plain mean.
        expected = values[:number].mean() if number <= 100 else SIMILARITY_DECAY * expected + 0.01 * value
        np.testing.assert_allclose(running.similarity, expected, rtol=1e-5)
        off.append(bool(running.off))
    assert int(running.measured) == 300 and off[-1] == gives_off and off == sorted(off)


def test_off_is_for_good_and_what_was_not_measured_changes_nothing():
    schedule = WeightSchedule(0.5, off_when_similar=0.8)
    running = RunningSimilarity.start()
    assert schedule.value(jnp.int32(0), running) == 0.5
    for total, count in ((1.8, 2), (0.0, 0), (np.nan, 2), (np.inf, 1)):
        running = running.updated(jnp.float32(total), jnp.int32(count), 0.8)
        assert (float(running.similarity), int(running.measured), bool(running.off)) == (np.float32(0.9), 1, True)
    running = running.updated(jnp.float32(-1.0), jnp.int32(1), 0.8)
    np.testing.assert_allclose(running.similarity, -0.05, atol=1e-6)
    assert running.off and schedule.value(jnp.int32(9), running) == 0
