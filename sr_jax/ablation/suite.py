"""A whole suite: its rows are checked, run, compared and reported."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import ml_collections

import sr_jax
from sr_jax.ablation.comparing import compare_rows
from sr_jax.ablation.costs import controls_of_equal_flops, relative_flops
from sr_jax.ablation.readings import read_identity
from sr_jax.ablation.report import write_page
from sr_jax.ablation.rows import CONTROL, Row, rows_of, seeds_of
from sr_jax.ablation.scheduling import TIMES_FILE, Places, Runner, run_command, run_tasks
from sr_jax.ablation.work import Task, check_commands, evaluation_config, make_task
from sr_jax.checkpoints.logs import read_lines
from sr_jax.checkpoints.reading import read_meta
from sr_jax.configs.ablate import KEYS
from sr_jax.data.builder import open_dataset
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.base import build_metrics
from sr_jax.evaluation.results import RESULTS_FILE, read_results
from sr_jax.outputs import require_writable, write_text

SUITE_FILE, PAGE_FILE, CACHE_FOLDER = "results.json", "report.html", "compile_cache"
"""In the suite's folder."""
_PACKAGES = ("jax", "flax", "optax", "numpy")


def run_suite(
    suite: str, config: ml_collections.ConfigDict, output: Path, *, runner: Runner = run_command
) -> dict[str, Any]:
    """Runs what is not done of a suite, and writes its results and its page.

    Args:
        suite: One of `rows.SUITES`.
        config: Of `configs/ablate.py`.
        output: Folder for everything.
        runner: Runs one command.

    Returns:
        What `results.json` holds.

    Raises:
        UserError: Before anything runs, for what is wrong with config, data or workdirs; then when a command fails.
    """
    check(KEYS, config)
    require_writable(output)
    rows = rows_of(suite, config)
    _check(rows, config)
    flops = relative_flops(rows, config)
    controls = controls_of_equal_flops(rows, flops) if config.equal_flops else {}
    rows = rows + list({row.name: row for row in controls.values()}.values())
    tasks = in_order([make_task(row, seed, config, output) for row in rows for seed in seeds_of(row, config.seeds)])
    places = Places(config.devices, config.at_once, output / CACHE_FOLDER)
    first = config.seeds[0]
    run_tasks(tasks, places, keep=lambda task: config.keep_checkpoints or task.seed == first, runner=runner)
    found: dict[str, dict[int, Any]] = {}
    for task in tasks:
        found.setdefault(task.row.name, {})[task.seed] = read_results(task.samples / RESULTS_FILE)
    results = _about(suite, config, tasks) | compare_rows(rows, found, controls, config.claims)
    for row in results["rows"]:
        row["flops"] = flops.get(row["name"], 1.0) * row["steps"]
    if suite == "paper" and config.modules.no_depth:
        results["identity"] = _identity(config)
    write_text(output / SUITE_FILE, json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_page(output / PAGE_FILE, results, [task for task in tasks if task.seed == first], config)
    return results


def _check(rows: Sequence[Row], config: ml_collections.ConfigDict) -> None:
    """Everything that can be told before hours are spent."""
    if len(set(config.seeds)) != len(config.seeds) or not config.seeds:
        raise UserError(f"config.seeds is {tuple(config.seeds)}: it must name one seed or more, each once")
    held_out = len(open_dataset(config.data.dir, config.data.split))
    if held_out < config.clips:
        raise UserError(f"config.clips is {config.clips}, but {config.data.dir} has {held_out} in {config.data.split}")
    check_commands(rows, config)
    measured = [metric.score.key for metric in build_metrics(evaluation_config(config)).values()]
    if strangers := [key for key in config.claims if key not in measured]:
        raise UserError(f"config.claims names {strangers[0]!r}, which config.metrics does not measure")
    read_meta(config.start)


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """Seed by seed, the control first, so that a suite that is stopped has whole comparisons."""
    seeds = list(dict.fromkeys(task.seed for task in tasks))
    return sorted(tasks, key=lambda task: (seeds.index(task.seed), task.row.group != "table", task.row.name != CONTROL))


def _about(suite: str, config: ml_collections.ConfigDict, tasks: Sequence[Task]) -> dict[str, Any]:
    """What made the results."""
    devices = jax.devices()
    times = [line for task in tasks for line in read_lines(task.folder / TIMES_FILE)]
    seconds: dict[str, float] = {}
    for line in times:
        seconds[line["command"]] = round(seconds.get(line["command"], 0.0) + line["seconds"], 1)
    return {
        "suite": suite,
        "config": json.loads(config.to_json()),
        "seeds": list(config.seeds),
        "versions": {"sr_jax": sr_jax.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "hardware": {"device": devices[0].device_kind, "devices": len(devices), "machine": platform.machine()},
        "seconds": seconds,
    }


def _identity(config: ml_collections.ConfigDict) -> dict[str, Mapping[str, Any]]:
    """Table 3: how far f_ID keeps people apart, with and without depth."""
    modules = {"with depth": config.modules.clean, "without depth": config.modules.no_depth}
    return {
        name: read_identity(workdir, config.data.dir, config.data.split, clips=config.clips)
        for name, workdir in modules.items()
    }
