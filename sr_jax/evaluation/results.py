"""The result of an evaluation on disk: `metrics.json`, `metrics.npz` and the depth that the judge read, as videos.

`metrics.json` holds, for the generated clips and for the real ones as the codec encodes them, the scores of every clip
and their means, and what made them. `metrics.npz` holds what needs arrays: scores frame by frame `[N, F]` and flow
features `[N, F - 1, D]`, in the order of the clips.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sr_jax.errors import UserError
from sr_jax.evaluation.scores import CLIP_SCORES, MOTION_SCORE, Score
from sr_jax.evaluation.scoring import ClipScores, set_motion_score

RESULTS_FILE = "metrics.json"
"""The usual name of the results in a folder of generated clips."""

SERIES = ("id_score", "structure_error")


@dataclasses.dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        clips: For each clip `clip_id`, `prompt`, `source` (the video it is from), `labels` (plain values only), and its
            scores `generated` and `codec` by key.
        means: Means `generated` and `codec` of each score by key, the motion score included; None where not defined.
        about: What was evaluated and by whom: folders, judges, frames a second, what made the clips.
        arrays: See the module; names are `<what>_generated`, `<what>_codec`, and `flow_real`.
    """

    clips: list[dict[str, Any]]
    means: dict[str, dict[str, float | None]]
    about: dict[str, Any]
    arrays: dict[str, Float[np.ndarray, "n ..."]]

    def values(self, score: Score, kind: str) -> Float[np.ndarray, " n"]:
        """A score of all clips, NaN where not defined; `kind` is "generated" or "codec"."""
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
    entries: Sequence[Mapping[str, Any]],
    generated: Sequence[ClipScores],
    codec: Sequence[ClipScores],
    about: Mapping[str, Any],
) -> Results:
    """Puts the scores of all clips together.

    Args:
        entries: Index entries of the clips.
        generated: Scores of the generated clips, in the same order.
        codec: Scores of the real clips as the codec encodes them.
        about: See `Results`.
    """
    kinds = {"generated": generated, "codec": codec}
    clips = [
        {
            "clip_id": entry["clip_id"],
            "prompt": entry["prompt"],
            "source": entry["source"],
            "labels": {name: value for name, value in entry["labels"].items() if isinstance(value, str | int | float)},
            "generated": ours.values,
            "codec": real.values,
        }
        for entry, ours, real in zip(entries, generated, codec, strict=True)
    ]
    arrays = {"flow_real": np.stack([item.real_flow for item in codec])}
    for kind, scores in kinds.items():
        arrays[f"flow_{kind}"] = np.stack([item.flow for item in scores])
        arrays |= {f"{name}_{kind}": np.stack([item.series[name] for item in scores]) for name in SERIES}
    return Results(clips, {kind: _means(scores) for kind, scores in kinds.items()}, dict(about), arrays)


def write_results(results: Results, path: Path) -> None:
    """Writes `path` (JSON) and the arrays beside it; the JSON appears last, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **{name: array.astype(np.float32) for name, array in results.arrays.items()})
    os.replace(partial, path.with_suffix(".npz"))
    content = {name: getattr(results, name) for name in ("about", "means", "clips")}
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
        results = Results(content["clips"], content["means"], content["about"], arrays)
        told = all("identity" in clip["labels"] or "source" in clip for clip in results.clips)
    # Missing, cut short or of another kind: all of them different built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path} and {path.with_suffix('.npz').name}: evaluate again") from error
    if not told:
        raise UserError(f"{path} does not say which person or video each clip shows: evaluate again")
    return results


def _means(scores: Sequence[ClipScores]) -> dict[str, float | None]:
    means: dict[str, float | None] = {MOTION_SCORE.key: set_motion_score(scores)}
    for score in CLIP_SCORES:
        defined = [item.values[score.key] for item in scores if item.values[score.key] is not None]
        means[score.key] = float(np.mean(defined)) if defined else None
    return means
