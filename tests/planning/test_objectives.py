"""The published costs of the alignment objectives: what the page says is what was found for the configs as they are."""

import json
from pathlib import Path

from benchmarks import plan_objectives
from benchmarks.pages import published

_ROOT = Path(plan_objectives.__file__).parents[1]
_FOUND = json.loads((_ROOT / "benchmarks/results/plan_objectives.json").read_text())


def test_the_page_has_the_table():
    assert list(_FOUND["counted"]) == list(plan_objectives.OBJECTIVES)
    page = (_ROOT / "docs" / "alignment.md").read_text()
    assert published(page, "plan_objectives") == plan_objectives.table(_FOUND)


def test_what_is_counted_is_that_of_the_config_as_it_is():
    name = "repa as iREPA"
    count = _FOUND["counted"][name]
    assert plan_objectives.counted(plan_objectives.OBJECTIVES[name]) == count
    # A kernel of 3x3 from 3072 to 768 channels, with a bias, on 13 x 30 x 45 tokens, forwards and twice backwards.
    kernel = 9 * 3072 * 768
    assert count["trained"] == kernel + 768
    assert count["flops"] - _FOUND["counted"]["plain fine-tuning"]["flops"] == 3 * 2 * 13 * 30 * 45 * kernel


def test_what_is_planned_fits():
    for name, plan in _FOUND["plans"].items():
        assert plan["compiled"] is True and plan["fits"] is True, name
        flops, _ = plan["work"]
        assert flops == _FOUND["counted"][name]["flops"]
