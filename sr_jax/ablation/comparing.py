"""What a suite found: every row against the control, in numbers that a file keeps and pages are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sr_jax.ablation.rows import BASE, CONTROL, Row
from sr_jax.errors import UserError
from sr_jax.evaluation.bootstrap import LEVEL, Interval
from sr_jax.evaluation.effects import Effect, effect_on_clips, effect_on_sets, holm
from sr_jax.evaluation.metrics.base import Description, find_metric
from sr_jax.evaluation.report import words
from sr_jax.evaluation.results import Results

Found = Mapping[int, Results]
"""The results of a row by its seeds."""


def compare_rows(
    rows: Sequence[Row], found: Mapping[str, Found], controls: Mapping[str, Row], claims: Sequence[str]
) -> dict[str, Any]:
    """All comparisons of a suite.

    Args:
        rows: All rows that were run, the control among them.
        found: Their results, by name.
        controls: For rows that cost more than the control, that of equal FLOPs.
        claims: Keys of the scores that claims are made of.

    Returns:
        What `results.json` holds of them: `metrics`, `real`, `rows` (with `effects`, and `effects_equal_flops`) and
        `claims`, all of numbers and texts.

    Raises:
        UserError: When there is no control, rows were not scored on the same clips, or a claim is of a score that was
            not measured.
    """
    if CONTROL not in found:
        raise UserError("there is no row of plain fine-tuning to compare with")
    control = found[CONTROL]
    first = next(iter(control.values()))
    _require_same_clips(found)
    keys = [score.key for score in first.scores]
    if strangers := [key for key in claims if key not in keys]:
        raise UserError(f"config.claims names {strangers[0]!r}, which config.metrics does not measure")
    described = []
    for row in rows:
        entry = _values(row, found[row.name], first.metrics)
        if row.name != CONTROL:
            entry["effects"] = _effects(found[row.name], control, first.metrics)
        if row.name in controls:
            entry["control_of_equal_flops"] = controls[row.name].name
            entry["effects_equal_flops"] = _effects(found[row.name], found[controls[row.name].name], first.metrics)
        described.append(entry)
    return {
        "clips": len(first.clips),
        "groups": len(set(first.groups().tolist())),
        "group_name": first.group_name,
        "metrics": [dataclasses.asdict(metric.score) for metric in first.metrics],
        "real": first.means["codec"],
        "rows": described,
        "claims": _claims(described, claims, {metric.score.key: metric for metric in first.metrics}),
    }


def _require_same_clips(found: Mapping[str, Found]) -> None:
    """All rows and seeds have the same clips and the same metrics."""
    expected = None
    for name, results in ((name, results) for name, of_seeds in found.items() for results in of_seeds.values()):
        scored = ([clip["clip_id"] for clip in results.clips], [metric.name for metric in results.metrics])
        expected = expected or scored
        if scored != expected:
            raise UserError(f"the row {name} was not scored on the same clips and metrics as the others: remove it")


def _values(row: Row, found: Found, metrics: Sequence[Description]) -> dict[str, Any]:
    """Name and means of a row, over seeds and of each."""
    means = {
        metric.score.key: [item.means["generated"][metric.score.key] for item in found.values()] for metric in metrics
    }
    return {
        "name": row.name,
        "label": row.label,
        "group": row.group,
        "steps": row.steps if row.options is not None else 0.0,
        "paper": dict(row.paper),
        "seeds": list(found),
        "by_seed": means,
        "means": {key: _mean(values) for key, values in means.items()},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _effects(run: Found, control: Found, metrics: Sequence[Description]) -> dict[str, dict[str, Any] | None]:
    """By the score's key; None where fewer than two clips have it."""
    seeds = [seed for seed in run if seed in control]
    ours, theirs = ([found[seed] for seed in seeds] for found in (run, control))
    return {metric.score.key: _described(_effect(metric, ours, theirs)) for metric in metrics}


def _effect(metric: Description, run: Sequence[Results], control: Sequence[Results]) -> Effect | None:
    first, groups = run[0], run[0].groups()
    if metric.level == "clip":
        ours, theirs = (np.stack([item.values(metric.score, "generated") for item in of]) for of in (run, control))
        return effect_on_clips(ours, theirs, first.values(metric.score, "codec"), groups)
    name, value = metric.features_name, find_metric(metric.name).value
    ours, theirs = (np.stack([item.arrays[f"{name}_generated"] for item in of]) for of in (run, control))
    codec, real = (first.arrays[f"{name}_{of}"] for of in ("codec", "real"))
    return effect_on_sets(ours, theirs, codec, real, value, groups)


def _described(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    difference = dataclasses.asdict(effect.difference) | {"smallest_visible": effect.difference.smallest_visible}
    return {
        "run": effect.run,
        "control": effect.control,
        "difference": difference,
        "by_seed": list(effect.by_seed),
        "seed_deviation": effect.seed_deviation,
        "gain": None if effect.gain is None else dataclasses.asdict(effect.gain),
    }


def interval_of(described: Mapping[str, Any]) -> Interval:
    """The interval that a file describes."""
    return Interval(**{field.name: described[field.name] for field in dataclasses.fields(Interval)})


def _claims(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metrics: Mapping[str, Description]
) -> list[dict[str, Any]]:
    """For every trained row of the table and score of `keys`, whether it beats the control, corrected for all."""
    made = {
        (row["name"], key): row["effects"][key]["difference"]
        for row in rows
        if row["group"] == "table" and row["name"] not in (BASE, CONTROL)
        for key in keys
        if row["effects"][key] is not None
    }
    corrected = holm({claim: difference["p_value"] for claim, difference in made.items()})
    return [
        {
            "row": name,
            "score": key,
            "p_value": difference["p_value"],
            "corrected_p_value": corrected[name, key],
            "verdict": _verdict(metrics[key], interval_of(difference), corrected[name, key]),
        }
        for (name, key), difference in made.items()
    ]


def _verdict(metric: Description, interval: Interval, corrected: float) -> str:
    """As of a single score, but undecided where the corrected p-value says so."""
    verdict = words.verdict(metric.score, interval)
    decided = verdict in (words.BETTER, words.WORSE)
    return words.UNDECIDED if decided and corrected >= 1 - LEVEL else verdict
