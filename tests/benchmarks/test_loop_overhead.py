"""What the benchmark of the training loop makes of its measurements."""

import pytest

from benchmarks.loop_overhead import flatness, summary


def _pair(loop, alone, waiting):
    return {
        "loop": {
            "seconds_per_step": loop,
            "processor_seconds_per_step": 2 * loop,
            "host_seconds_per_step": 0.03,
            "waiting_for_data": waiting,
        },
        "step_alone": {
            "seconds_per_step": alone,
            "processor_seconds_per_step": 2.5 * alone,
            "host_seconds_per_step": 0.02,
        },
    }


def test_what_the_loop_adds_is_the_median_of_the_pairs():
    assert summary([_pair(1.02, 1.0, 0.01), _pair(2.2, 2.0, 0.03), _pair(0.99, 1.0, 0.02)]) == {
        "added_by_the_loop": 0.02,
        "lowest_and_highest": [-0.01, 0.1],
        "added_processor_time": pytest.approx(1.02 * 2 / 2.5 - 1, abs=1e-4),
        "added_host_time": 0.01,
        "waiting_for_data": 0.02,
    }


def test_steps_that_become_slower_are_seen():
    seconds = [1.0] * 14 + [2.0, 2.0, 3.0, 2.0, 2.0]
    lines = [{"step": 100 * number, "seconds_per_step": each} for number, each in enumerate(seconds, 2)]
    assert flatness(lines, "seconds_per_step") == {"last_to_first": 2.0, "slowest_to_first": 3.0}
