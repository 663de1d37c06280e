"""The result of an evaluation on disk: `metrics.json`, `metrics.npz` and the depth that the judge read, as videos.

`metrics.json` holds what was measured and, for the generated clips and for the real ones, the scores of every clip and
their means, and what made them. The real ones are scored as the codec encodes them, or as they are where no codec made
the generated ones: then only metrics that look at one clip alone have a value. `metrics.npz` holds what needs arrays:
scores frame by frame `[N, F]`, and the features of metrics of sets, `[N, ...]`, in the order of the clips.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.base import Description, Score, find_metric, mean_where_defined
from sr_jax.evaluation.scoring import ClipScores

RESULTS_FILE = "metrics.json"
"""The usual name of the results in a folder of generated clips."""

KINDS = {"generated": "generated", "codec": "codec only", "real": "real"}
"""What is scored, and its name in a table: generated clips, and real ones as the codec encodes them or as they are."""


@dataclasses.dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        metrics: What was measured, in the order of the table.
        clips: For each clip `clip_id`, `prompt`, `source` (the video it is from), `labels` (plain values only), and its
            scores `generated`, and `codec` or `real`, by key; of video files also `alignment`, what it took to compare.
        means: Of each of these the mean of each score by key, or its value of the set; None where not defined.
        about: What was evaluated and by whom: folders, judges, frames a second, what made the clips.
        arrays: See the module; names are `<what>_generated` and `<what>_codec`, and for features `<what>_real`.
    """

    metrics: list[Description]
    clips: list[dict[str, Any]]
    means: dict[str, dict[str, float | None]]
    about: dict[str, Any]
    arrays: dict[str, Float[np.ndarray, "n ..."]]

    @property
    def scores(self) -> list[Score]:
        """What was measured, in the order of the table."""
        return [metric.score for metric in self.metrics]

    def values(self, score: Score, kind: str) -> Float[np.ndarray, " n"]:
        """A score of all clips, NaN where not defined; `kind` is one of `KINDS`."""
        return np.array([clip[kind][score.key] for clip in self.clips], np.float64)

    def groups(self) -> Int[np.ndarray, " n"]:
        """Number of the person of each clip, for the bootstrap; of its video, where the labels do not say who it is."""
        people = [str(clip["labels"].get("identity", clip.get("source"))) for clip in self.clips]
        return np.unique(people, return_inverse=True)[1]

    @property
    def group_name(self) -> str:
        """What `groups` counts: "people", "videos", or "people or videos" where only some labels say who."""
        named = {"identity" in clip["labels"] for clip in self.clips}
        return " or ".join(name for name, there in (("people", True in named), ("videos", False in named)) if there)


def collect(
    metrics: Sequence[Description],
    entries: Sequence[Mapping[str, Any]],
    scored: Mapping[str, Sequence[ClipScores]],
    about: Mapping[str, Any],
) -> Results:
    """Puts the scores of all clips together.

    Args:
        metrics: What was measured.
        entries: Index entries of the clips.
        scored: For the generated clips and the real ones (see `KINDS`) the scores of each clip, in the same order; one
            of the two with features of the real clips.
        about: See `Results`.
    """
    clips = [
        {
            "clip_id": entry["clip_id"],
            "prompt": entry["prompt"],
            "source": entry["source"],
            "labels": {name: value for name, value in entry["labels"].items() if isinstance(value, str | int | float)},
            **{name: entry[name] for name in ("alignment",) if name in entry},
            **{kind: scores[place].values for kind, scores in scored.items()},
        }
        for place, entry in enumerate(entries)
    ]
    arrays = {}
    for kind, scores in scored.items():
        arrays |= {
            f"{name}_real": _cut(item.real_features[name] for item in scores) for name in scores[0].real_features
        }
        arrays |= {f"{name}_{kind}": _cut(item.features[name] for item in scores) for name in scores[0].features}
        arrays |= {f"{name}_{kind}": _filled(item.frames[name] for item in scores) for name in scores[0].frames}
    means = {kind: {metric.score.key: _mean(metric, kind, clips, arrays) for metric in metrics} for kind in scored}
    samples = {metric.score.key: _samples(metric, arrays) for metric in metrics if metric.level == "set"}
    return Results(list(metrics), clips, means, {**about, "samples": samples}, arrays)


def write_results(results: Results, path: Path) -> None:
    """Writes `path` (JSON) and the arrays beside it; the JSON appears last, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **{name: array.astype(np.float32) for name, array in results.arrays.items()})
    os.replace(partial, path.with_suffix(".npz"))
    content = {name: getattr(results, name) for name in ("about", "means", "clips")}
    content |= {"metrics": [dataclasses.asdict(metric) for metric in results.metrics]}
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(partial, path)


def read_results(path: Path) -> Results:
    """Reads what `write_results` wrote.

    Raises:
        UserError: When a file is missing or is something else, or does not say which person or video a clip shows.
    """
    if not path.is_file():
        raise UserError(f"no {path}: score the clips with `python -m sr_jax.evaluate` first")
    try:
        content = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.float64) for name in stored}
        metrics = [Description(**metric | {"score": Score(**metric["score"])}) for metric in content["metrics"]]
        results = Results(metrics, content["clips"], content["means"], content["about"], arrays)
        told = all("identity" in clip["labels"] or "source" in clip for clip in results.clips)
    # Missing, cut short or of another kind: all of them different built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path} and {path.with_suffix('.npz').name}: evaluate again") from error
    if not told:
        raise UserError(f"{path} does not say which person or video each clip shows: evaluate again")
    return results


def summary(results: Results) -> str:
    """The means as a small table in plain text."""
    kinds = list(results.means)
    lines = [f"{'mean of ' + str(len(results.clips)) + ' clips':<24}" + "".join(f"{KINDS[kind]:>12}" for kind in kinds)]
    samples = results.about.get("samples", {})
    for score in results.scores:
        values = [results.means[kind][score.key] for kind in kinds]
        cells = ["-" if value is None else f"{value:.{score.digits}f}" for value in values]
        label = score.label + (f" ({score.unit})" if score.unit else "")
        count = f"   N = {samples[score.key]}" if score.key in samples else ""
        lines.append(f"{label:<24}" + "".join(f"{cell:>12}" for cell in cells) + count)
    lines += [f"left out: {name}: {reason}" for name, reason in results.about.get("left_out", {}).items()]
    aligned = sum(bool(clip.get("alignment")) for clip in results.clips)
    if aligned:
        lines.append(f"{aligned} clips differ from the real ones in length, rate or size: see alignment in the results")
    if unused := results.about.get("unused"):
        lines.append(f"{len(unused)} real clips have no generated one and count for nothing, such as {unused[0]}")
    return "\n".join(lines)


def _cut(features: Iterable[Float[np.ndarray, "..."]]) -> Float[np.ndarray, "n ..."]:
    """Features of all clips; of those frame by frame, as many first frames of each clip as the shortest one has."""
    features = list(features)
    if features[0].ndim > 1:
        shortest = min(map(len, features))
        features = [array[:shortest] for array in features]
    return np.stack(features)


def _filled(frames: Iterable[Float[np.ndarray, " f"]]) -> Float[np.ndarray, "n f"]:
    """Scores frame by frame of all clips, NaN behind the end of the shorter ones."""
    frames = list(frames)
    longest = max(map(len, frames))
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in frames])


def _samples(metric: Description, arrays: Mapping[str, np.ndarray]) -> int:
    """How many feature vectors of each set stand behind a metric of sets: of clips, or of all their frames."""
    return int(np.prod(arrays[f"{metric.features_name}_generated"].shape[:-1]))


def _mean(
    metric: Description, kind: str, clips: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
) -> float | None:
    if metric.level == "clip":
        return mean_where_defined([clip[kind][metric.score.key] for clip in clips])
    if kind == "real":
        return None
    ours, real = (arrays[f"{metric.features_name}_{of}"] for of in (kind, "real"))
    return mean_where_defined(find_metric(metric.name).value(ours, real, np.ones((1, len(clips)), int)))
