"""The report's facts: how the scores are measured, what made the data, what was run."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sr_jax.evaluation.report import words
from sr_jax.evaluation.report.inputs import Inputs, Run, Step, Training

_OF_THE_PAPER = {"structure", "identity"}
_SAMPLING = ("sampler", "num_inference_steps", "guidance_scale", "dynamic_guidance", "seed")


@dataclasses.dataclass(frozen=True)
class Fact:
    """What a page says of one thing: "text `code`; more", the last two only if there is any."""

    text: str
    code: str = ""
    more: str = ""


def what_differs(inputs: Inputs) -> str:
    """In what the training configs of the runs differ; empty when a run's training is not among the inputs."""
    trainings = {training.style: training for training in inputs.trainings}
    if any(run.style not in trainings for run in inputs.runs):
        return ""
    configs = [_flatten(trainings[run.style].config) for run in inputs.runs]
    names = sorted(set().union(*configs))
    differing = [
        f"{name} ({' against '.join(_value(config.get(name)) for config in configs)})"
        for name in names
        if any(config.get(name) != configs[0].get(name) for config in configs)
    ]
    runs = words.listed([run.name for run in inputs.runs])
    if not differing:
        return f"Here, {runs} were trained with one and the same config."
    return f"Here, {runs} were trained with configs that are equal but for {words.listed(differing)}."


def adds_the_losses(inputs: Inputs, run: Run) -> bool:
    """Whether, by the training configs, a run has the paper's alignment losses, and no other, and the baseline none."""
    configs = {training.style: training.config for training in inputs.trainings}
    ours, theirs = (configs.get(item.style, {}).get("alignment") for item in (run, inputs.baseline))
    if ours is None or theirs is None:
        return False
    added = {section.get("objective", name) for name, section in ours.items() if section["weight"]}
    return bool(added) and added <= _OF_THE_PAPER and not any(section["weight"] for section in theirs.values())


def measuring(inputs: Inputs) -> dict[str, Any]:
    """What every score means, and who judges."""
    results = inputs.runs[0].results
    judges = results.about["judges"]
    faces = None
    if "face_recogniser" in judges:
        recogniser, teacher = judges["face_recogniser"], inputs.provenance.teachers["face_recogniser"]
        faces = {
            "recogniser": _network(recogniser),
            "detector": _network(judges["face_detector"]),
            "is_of_the_teachers_kind": recogniser["name"] == teacher["name"],
        }
    return {"structure": judges.get("structure"), "faces": faces, "scores": results.scores}


def people(inputs: Inputs) -> str:
    """Whether the held-out clips show people that training saw; empty when the clips do not say who they show."""
    held_out = {clip["labels"].get("identity") for clip in inputs.runs[0].results.clips}
    if inputs.training_people is None or None in held_out:
        return ""
    shared = len(held_out & inputs.training_people)
    if not shared:
        return f"None of the {len(held_out)} people in the held-out clips is in the training clips."
    return f"Of the {len(held_out)} people in the held-out clips, {shared} are also in (other) training clips."


def same_noise(inputs: Inputs) -> bool:
    """Whether all runs were sampled with the same settings and noise."""
    settings = [
        {name: value for name, value in run.results.about["made_by"].items() if name in _SAMPLING}
        for run in inputs.runs
    ]
    return all(item == settings[0] for item in settings)


def making(inputs: Inputs) -> list[tuple[str, Fact]]:
    """The dataset, the teachers and the training runs, by what each is called."""
    provenance = inputs.provenance
    clip = provenance.clip
    counts = ", ".join(f"{count} clips in {split}" for split, count in inputs.clips.items())
    size = f"{clip['num_frames']} frames at {clip['fps']:g} a second, {clip['height']} x {clip['width']}"
    rows = [("Clips", Fact(f"{counts}; {size}")), ("Video codec", _network(provenance.codec))]
    rows += [(f"Teacher: {name.replace('_', ' ')}", _network(value)) for name, value in provenance.teachers.items()]
    rows += [(f"Fitted: {name}", Fact(_numbers(values))) for name, values in inputs.fitted.items()]
    rows += [(f"Training: {run.name}", Fact(_training(run))) for run in inputs.trainings]
    rows += [(f"Sampling: {run.name}", Fact(_sampling(run.results.about["made_by"]))) for run in inputs.runs]
    return rows


def commands(inputs: Inputs) -> dict[str, Any] | None:
    """What was run and how long it took; None when that is not known."""
    if not inputs.steps:
        return None
    elapsed, worked = busy_seconds(inputs.steps), sum(step.seconds for step in inputs.steps)
    return {
        "elapsed": _duration(elapsed),
        "side_by_side": worked > elapsed + 1,
        "steps": [
            {"name": step.name, "duration": _duration(step.seconds), "command": step.command} for step in inputs.steps
        ],
    }


def busy_seconds(steps: Sequence[Step]) -> float:
    """How many seconds at least one of the steps was running."""
    total, end = 0.0, -math.inf
    for step in sorted(steps, key=lambda step: step.began):
        last = step.began + step.seconds
        total += max(0.0, last - max(step.began, end))
        end = max(end, last)
    return total


def _network(described: Mapping[str, Any]) -> Fact:
    extra = {name: value for name, value in described.items() if name not in ("name", "weight_hash")}
    code = str(described["weight_hash"]) if described["weight_hash"] != "none" else ""
    return Fact(str(described["name"]).replace("_", " "), code, _numbers(extra))


def _numbers(values: Mapping[str, Any]) -> str:
    shown = [(name, value) for name, value in values.items() if not isinstance(value, dict | list)]
    texts = [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in shown
    ]
    return ", ".join(texts)


def _training(training: Training) -> str:
    config, last = training.config, training.lines[-1]
    parts = [f"{last['step']:.0f} steps", f"batches of {config['batch_size']}", f"seed {config['seed']}"]
    if alignment := config.get("alignment"):
        weights = words.listed([f"{section['weight']:g}" for section in alignment.values()])
        parts.append(f"weights of {words.listed(list(alignment))} {weights}")
    if "wall_time" in last:
        parts.append(_duration(last["wall_time"]))
    return ", ".join(parts)


def _sampling(made_by: Mapping[str, Any]) -> str:
    dynamic = f" ({made_by['dynamic_guidance']})" if made_by["dynamic_guidance"] != "none" else ""
    return (
        f"{made_by['num_inference_steps']} {made_by['sampler'].upper()} steps, guidance "
        f"{made_by['guidance_scale']:g}{dynamic}, noise seed {made_by['seed']}, averaged weights of step "
        f"{made_by['step']}"
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
