"""What the comparison of a LoRA on a base in int8 with one on a base in bfloat16 makes of their losses."""

import json

import pytest

from benchmarks import int8_base


def test_the_summary_by_hand():
    found = int8_base.summary({"bfloat16": [1.0] * 10 + [2.0] * 10 + [9.0], "int8": [1.1] * 10 + [1.8] * 10 + [9.0]})
    assert found["ratio_of_windows"] == [1.1, 0.9]
    assert found["ratio_of_means"] == pytest.approx(38 / 39, abs=1e-5)
    assert found["least_and_largest_ratio_of_a_step"] == [0.9, 1.1]


def test_the_loss_stays_within_two_percent():
    found = json.loads(int8_base.RESULT.read_text())
    assert found == {name: found[name] for name in ("base_steps", "batch_size")} | int8_base.summary(found["losses"])
    assert found["steps"] >= 50
    for ratio in (found["ratio_of_means"], *found["ratio_of_windows"]):
        assert ratio == pytest.approx(1, abs=0.02)
    # Not the same run twice.
    assert found["losses"]["int8"] != found["losses"]["bfloat16"]
