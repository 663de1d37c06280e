import pytest

from sr_jax.ablation.costs import controls_of_equal_flops
from sr_jax.ablation.rows import Row, rows_of, seeds_of
from sr_jax.ablation.work import check_commands, evaluation_config, make_task, training_config
from sr_jax.configs.ablate import get_config
from sr_jax.errors import UserError


def _config(size="cpu", **changes):
    config = get_config(size)
    config.update({"start": "w0", "codec": "c.npz", **changes})
    config.data.dir = "DATA"
    config.modules.update(clean="w1", noisy="w1n", no_depth="w1d")
    config.judges.update(structure="wj", faces="jf", body_parts="jp")
    return config


def _weights(config) -> dict[str, float]:
    return {name: section.weight for name, section in config.alignment.items() if section.weight}


def test_the_paper_suite_has_the_rows_of_table_2_with_what_the_paper_found():
    rows = {row.name: row for row in rows_of("paper", _config(sweeps=()))}
    assert list(rows) == ["base", "control", "structure_noisy", "structure", "identity", "both"]
    paper = {name: (row.paper["motion_score"], row.paper["id_score"]) for name, row in rows.items()}
    assert paper["both"] == (0.4012, 0.6339) and paper["control"] == (0.7481, 0.5098)
    configs = {name: training_config(row, 3, _config()) for name, row in rows.items() if row.options is not None}
    assert {name: _weights(config) for name, config in configs.items()} == {
        "control": {},
        "structure_noisy": {"structure": 0.01},
        "structure": {"structure": 0.01},
        "identity": {"identity": 1.0},
        "both": {"structure": 0.01, "identity": 1.0},
    }
    # L_ID reads what f_S predicts, whether or not that has a loss.
    modules = {
        name: [config.alignment[part].module for part in ("structure", "identity")] for name, config in configs.items()
    }
    assert modules["structure_noisy"] == ["w1n", ""] and modules["identity"] == modules["both"] == ["w1", "w1"]
    for config in configs.values():
        assert (config.seed, config.num_train_steps, config.init.transformer, config.data.dir) == (3, 500, "w0", "DATA")


def test_the_objectives_suite_has_each_objective_by_itself():
    rows = {row.name: row for row in rows_of("objectives", _config())}
    configs = {name: training_config(row, 0, _config()) for name, row in rows.items()}
    assert {name: _weights(config) for name, config in configs.items()} == {
        "control": {},
        "both": {"structure": 0.01, "identity": 1.0},
        "repa": {"repa": 0.5},
        "trd": {"trd": 0.5},
        "crepa": {"crepa": 0.5},
        "layersync": {"layersync": 0.2},
    }
    assert configs["repa"].alignment.repa.tokens == "mobilenet_v2_tokens"
    assert configs["trd"].alignment.trd.channels == 128 and configs["layersync"].alignment.layersync.deeper_block == 3


def test_what_is_tried_is_tried_on_one_seed_and_changes_what_it_says():
    rows = {row.name: row for row in rows_of("paper", _config()) if row.group == "sweep"}
    configs = {name: training_config(row, 0, _config()) for name, row in rows.items()}
    assert all(seeds_of(row, (4, 5, 6)) == [4] for row in rows.values())
    assert tuple(rows) == get_config().sweeps
    few = rows_of("paper", _config(sweeps=("noise_linear", "lambda_s_1")))
    assert [row.name for row in few if row.group == "sweep"] == ["lambda_s_1", "noise_linear"]
    assert configs["lambda_s_0.1"].alignment.structure.weight == 0.1
    assert configs["lambda_id_3"].alignment.identity.weight == 3.0
    assert {section.noise_weighting for section in configs["noise_signal"].alignment.values() if section.weight} == {
        "signal"
    }
    assert configs["both_longer"].num_train_steps == configs["control_longer"].num_train_steps == 1000
    table = [row for row in rows_of("paper", _config()) if row.group == "table"]
    assert all(seeds_of(row, (4, 5, 6)) == [4, 5, 6] for row in table)


def test_rows_of_a_seed_share_data_order_noise_and_sampling(tmp_path):
    config = _config(train_options=("batch_size=2",), sample_options=("num_inference_steps=7",))
    tasks = [make_task(row, 5, config, tmp_path) for row in rows_of("paper", config)]
    trained = [dict(argument.split("=", 1) for argument in task.commands[0][1:]) for task in tasks if task.steps]
    sampled = [dict(argument.split("=", 1) for argument in task.commands[-2][1:]) for task in tasks]
    assert {flags["--config.seed"] for flags in (*trained, *sampled)} == {"5"}
    assert {flags["--config.batch_size"] for flags in trained} == {"2"}
    assert {flags["--config.num_inference_steps"] for flags in sampled} == {"7"}
    # The start is sampled as it is; every other row from its own workdir.
    checkpoints = [flags["--checkpoint"] for flags in sampled]
    assert checkpoints[0] == "w0" and tasks[0].commands[0][0] == "sample" and len(set(checkpoints)) == len(tasks)
    assert all(flags["--checkpoint"] == own["--workdir"] for flags, own in zip(sampled[1:], trained))
    evaluation = evaluation_config(config)
    assert (evaluation.structure, evaluation.faces.path, evaluation.body_parts.path) == ("wj", "jf", "jp")


@pytest.mark.parametrize("size", ["cpu", "gpu", "smoke"])
def test_every_command_of_every_size_has_the_keys_that_it_is_given(size):
    rows = [*rows_of("paper", _config(size, sweeps=())), *rows_of("objectives", _config(size))[2:]]
    check_commands(rows, _config(size))
    assert get_config("cpu").seeds == (0, 1, 2, 3, 4) and get_config("cpu").clips == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"start": ""}, "config.start is empty"), ({"train_options": ("speed=3",)}, "no config key 'speed'")],
)
def test_what_is_wrong_is_told_before_anything_runs(changes, message):
    config = _config(**changes)
    with pytest.raises(UserError, match=message):
        check_commands(rows_of("paper", config)[:2], config)
    with pytest.raises(UserError, match="no suite is called 'mine'"):
        rows_of("mine", _config())


def test_rows_of_about_the_same_cost_share_a_control_that_costs_no_less():
    names = ("control", "structure_noisy", "structure", "identity", "both", "repa")
    rows = [Row(name, "", {}) for name in names] + [Row("sweep", "", {}, group="sweep")]
    flops = dict(zip(names, (1.0, 1.27, 1.27, 1.283, 1.2841, 1.001))) | {"sweep": 1.5}
    controls = controls_of_equal_flops(rows, flops)
    assert {name: row.steps for name, row in controls.items()} == dict.fromkeys(names[1:5], 1.28)
    assert {row.group for row in controls.values()} == {"flops"}
    apart = controls_of_equal_flops(rows, flops | {"structure": 1.1})
    assert apart["structure"].steps == 1.1 and apart["both"].steps == 1.28
