"""What the side-by-side benchmark makes of its measurements."""

import dataclasses
import time

import pytest

from benchmarks.side_by_side import turns
from benchmarks.side_by_side.report import page
from benchmarks.side_by_side.settings import PARTS, SIZES, Settings
from benchmarks.side_by_side.turns import CACHE, Contestant, ContestantError, Turns, median
from benchmarks.side_by_side.worker import WORKLOADS

_MACHINE = {"cpu": "a processor", "cores": 16, "python": "3.12.3", "sr_jax": "0"}


def _result(parts, settings=None):
    settings = settings or Settings()
    said = dataclasses.asdict(settings) | {"tokens": settings.tokens, "xla_flags": ""}
    return {name: {"machine": _MACHINE, "settings": said, "contestants": each} for name, each in parts.items()}


def _turn(*seconds, **said):
    return {"seconds": list(seconds), "seconds_until_first_run": 60.0} | said


def _row(text, contestant):
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    return next([cell.strip(" |") for cell in row] for row in rows if row[1:2] == [contestant])


def test_times_ratios_and_utilisation_of_the_released_size():
    device = {"device": "NVIDIA H200", "framework": "jax 0", "peak_gib": 112.25}
    ours, theirs = [_turn(2.0, 3.0, **device), _turn(4.0, **device)], [_turn(4.0, 3.0), _turn(8.0, **device)]
    text = page({"gpu": _result({"training": {"sr_jax": ours, "pytorch": theirs}})})
    # 49 frames of 480x720 are 226 + 13 * 30 * 45 tokens. A step is three times the published 332 TFLOP of a forward
    # pass; 996.6 in 3 s are 33.6% of 989 TFLOP/s.
    assert "(17,776 tokens)" in text
    assert _row(text, "sr_jax")[2:8] == ["3", "3", "", "332", "33.6%", "112.2"]
    assert _row(text, "pytorch")[2:7] == ["4", "3", "1.33 (1.00 to 2.00)", "249", "25.2%"]


def test_parts_of_other_sizes_have_a_table_of_their_own():
    each = {"sr_jax": [_turn(2.0)]}
    parts = _result({"training": each}) | _result({"vae_encode": each}, SIZES["cpu"])
    text = page({"cpu": parts})
    assert text.count("| Part |") == 2
    assert text.index("17,776 tokens") < text.index(PARTS["training"].title) < text.index("1,090 tokens")
    assert text.count("of 42 blocks") == text.count("of 128 channels") == 1


def test_the_input_pipeline_is_compared_with_the_step_that_it_feeds():
    parts = _result({"input": {"sr_jax": [_turn(0.4, clips=16)]}, "training": {"sr_jax": [_turn(5.0)]}})
    assert "reads a clip in 25.0 ms: 0.50% of a training step" in page({"cpu": parts})


def test_what_failed_and_what_is_missing_is_said():
    parts = {"t5": {"sr_jax": [_turn(error="run: out of memory")], "pytorch": []}}
    text = page({"cpu": _result(parts)})
    assert f"- {PARTS['t5'].title}, sr_jax: run: out of memory" in text
    assert f"- {PARTS['t5'].title}, pytorch: not begun, the time was over" in text
    assert all(part.title in text.split("## Missing")[1] for part in PARTS.values())


def test_every_contestant_has_a_workload():
    assert {(part, name) for part, each in PARTS.items() for name in each.contestants} == WORKLOADS.keys()


def test_the_structure_module_keeps_its_share_of_the_blocks():
    assert [Settings(layers=layers).structure_layers for layers in (42, 21, 1)] == [12, 6, 1]


def test_first_steps_are_timed_from_the_start_and_cold_ones_compile_anew(monkeypatch):
    caches = []

    class Instant:
        def __init__(self, part, name, settings, environment):
            self._name = name
            caches.append((name, environment.get(CACHE)))

        def ask(self, action, deadline):
            time.sleep(0.01)
            return {"seconds": 0.01, "returned": {"said": self._name} if action == "about" else None}

        def close(self):
            pass

    monkeypatch.setattr(turns, "Contestant", Instant)
    names = ("sr_jax", "cached")
    environments = {name: {CACHE: "kept"} for name in names}
    taken = Turns("first_step", names, "{}", environments=environments, deadline=0.0, save=lambda: None)
    taken.afresh(2, cached="cached")
    assert [name for name, _ in caches] == ["cached", "sr_jax", "cached", "sr_jax", "cached"]
    assert {cache for name, cache in caches if name == "cached"} == {"kept"}
    cold = [cache for name, cache in caches if name == "sr_jax"]
    assert len(set(cold)) == 2 and "kept" not in cold
    for name, runs in taken.results.items():
        assert [turn["said"] for turn in runs] == [name, name]
        assert all(0.03 <= second < 1 for turn in runs for second in turn["seconds"])


def test_a_contestant_that_cannot_start_says_why():
    contestant = Contestant("t5", "nobody", "{}", {})
    with pytest.raises(ContestantError, match=r"KeyError: .*nobody"):
        contestant.ask("prepare", time.monotonic() + 120)


def test_a_contestant_that_takes_too_long_is_stopped():
    contestant = Contestant("t5", "sr_jax", "{}", {})
    with pytest.raises(ContestantError, match="the time was over"):
        contestant.ask("prepare", time.monotonic())
    assert median([_turn()]) is None
