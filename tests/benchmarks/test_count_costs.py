"""What pages say of counted costs is what was counted, for the configs as they are now."""

import json
from pathlib import Path

from benchmarks import count_costs
from benchmarks.pages import published
from sr_jax.configs import base, stage_one, stage_two

_ROOT = Path(count_costs.__file__).parents[1]
_COUNTED = json.loads((_ROOT / "benchmarks/results/count_costs.json").read_text())


def test_the_pages_have_the_tables():
    preparing = published((_ROOT / "docs/preparing.md").read_text(), "count_preparing")
    training = published((_ROOT / "docs/training.md").read_text(), "count_training")
    assert preparing == count_costs.preparing_table(_COUNTED["preparing"])
    assert training == count_costs.training_table(_COUNTED["training"])


def test_runs_have_the_steps_of_their_configs():
    configs = {"plain fine-tuning": base, "stage one": stage_one, "stage two": stage_two}
    for name, module in configs.items():
        assert _COUNTED["training"][name]["steps"] == module.get_config(count_costs.SIZE).num_train_steps


def test_plans_counted_the_same_stage_two():
    plans = json.loads((_ROOT / "benchmarks/results/plan_pods.json").read_text())["plans"]
    found = plans["5b_i2v, v5p:2x2x4"]
    assert _COUNTED["training"]["stage two"]["flops"] * found["clips"] == found["model_flops"]
