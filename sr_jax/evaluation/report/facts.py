"""The report's facts: how the scores are measured, what made the data, what was run."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sr_jax
from sr_jax.evaluation.report import words
from sr_jax.evaluation.report.inputs import Inputs, Run, Step, Training
from sr_jax.evaluation.scores import SCORES

_WEIGHTS = ("structure_weight", "identity_weight")
_SAMPLING = ("sampler", "num_inference_steps", "guidance_scale", "dynamic_guidance", "seed")


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
    """Whether, by the training configs, a run has the alignment losses and the baseline is fine-tuned without them."""
    configs = {training.style: training.config for training in inputs.trainings}
    ours, theirs = ([configs.get(item.style, {}).get(name) for name in _WEIGHTS] for item in (run, inputs.baseline))
    return any(ours) and theirs == [0, 0]


def measuring(inputs: Inputs) -> str:
    """What every score means, who judges, and what the numbers cannot say."""
    about = inputs.runs[0].results.about
    judges, structure = about["judges"], about["judges"]["structure"]
    teacher = inputs.provenance.teachers["face_recogniser"]["name"]
    kind = "of the same kind as" if judges["face_recogniser"]["name"] == teacher else "of another kind than"
    meanings = [(score.label, html.escape(score.meaning)) for score in SCORES]
    return (
        f"<p>Two judges read the generated clips: a structure network trained with seed {structure['seed']} for "
        f"{structure['step']} steps, and the face recogniser {_network(judges['face_recogniser'])} with the detector "
        f"{_network(judges['face_detector'])}. Neither supervised any run. The structure judge has the architecture "
        "and the training clips of the structure module in the loss; the face judge is another network, "
        f"{kind} the teacher. They may share blind spots with what supervised.</p>"
        f"{_list(meanings)}"
        "<p>These scores use small networks and light features in place of the paper&rsquo;s. They rank the runs of "
        "this experiment; their values cannot be set beside the paper&rsquo;s. Every run was trained once: the "
        "intervals cover the choice of clips, not the luck of a training run.</p>"
    )


def people(inputs: Inputs) -> str:
    """Whether the held-out clips show people that training saw; empty when the clips do not say who they show."""
    held_out = {clip["labels"].get("identity") for clip in inputs.runs[0].results.clips}
    if inputs.training_people is None or None in held_out:
        return ""
    shared = len(held_out & inputs.training_people)
    if not shared:
        return f"None of the {len(held_out)} people in the held-out clips is in the training clips."
    return f"Of the {len(held_out)} people in the held-out clips, {shared} are also in (other) training clips."


def same_noise(inputs: Inputs) -> str:
    """A remark when all runs were sampled with the same settings and noise."""
    settings = [
        {name: value for name, value in run.results.about["made_by"].items() if name in _SAMPLING}
        for run in inputs.runs
    ]
    return ", from the same noise" if all(item == settings[0] for item in settings) else ""


def making(inputs: Inputs) -> str:
    """The dataset, the teachers and the training runs."""
    provenance = inputs.provenance
    clip = provenance.clip
    counts = ", ".join(f"{count} clips in {split}" for split, count in inputs.clips.items())
    rows = [
        (
            "Clips",
            f"{counts}; {clip['num_frames']} frames at {clip['fps']:g} a second, {clip['height']} x {clip['width']}",
        ),
        ("Video codec", _network(provenance.codec)),
    ]
    rows += [(f"Teacher: {name.replace('_', ' ')}", _network(value)) for name, value in provenance.teachers.items()]
    rows += [(f"Fitted: {name}", _numbers(values)) for name, values in inputs.fitted.items()]
    rows += [(f"Training: {run.name}", _training(run)) for run in inputs.trainings]
    for run in inputs.runs:
        made_by = run.results.about["made_by"]
        steps = f"{made_by['num_inference_steps']} {made_by['sampler'].upper()} steps"
        guidance = f"guidance {made_by['guidance_scale']:g}" + (
            f" ({made_by['dynamic_guidance']})" if made_by["dynamic_guidance"] != "none" else ""
        )
        text = f"{steps}, {guidance}, noise seed {made_by['seed']}, averaged weights of step {made_by['step']}"
        rows.append((f"Sampling: {run.name}", html.escape(text)))
    return _list(rows)


def commands(inputs: Inputs) -> str:
    """What was run and how long it took; empty when that is not known."""
    if not inputs.steps:
        return ""
    elapsed, worked = busy_seconds(inputs.steps), sum(step.seconds for step in inputs.steps)
    beside = ", some steps side by side" if worked > elapsed + 1 else ""
    rows = "".join(
        f'<tr><td>{html.escape(step.name)}</td><td class="number">{_duration(step.seconds)}</td>'
        f"<td><pre>{html.escape(step.command)}</pre></td></tr>"
        for step in inputs.steps
    )
    return (
        f"<p>{_duration(elapsed)} in all, before this report{beside}.</p>"
        f'<div class="scroll"><table><thead><tr><th>Step</th><th class="number">Time</th><th>Command</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def busy_seconds(steps: Sequence[Step]) -> float:
    """How many seconds at least one of the steps was running."""
    total, end = 0.0, -math.inf
    for step in sorted(steps, key=lambda step: step.began):
        last = step.began + step.seconds
        total += max(0.0, last - max(step.began, end))
        end = max(end, last)
    return total


def footer(inputs: Inputs) -> str:
    """What wrote the page."""
    version = html.escape(inputs.provenance.software_version)
    return (
        f"<footer>Written by sr_jax {sr_jax.__version__}; dataset by {version}. Every number and every verdict on this "
        "page is computed from the files of the runs. The page loads nothing from anywhere.</footer>"
    )


def _network(described: Mapping[str, Any]) -> str:
    extra = {name: value for name, value in described.items() if name not in ("name", "weight_hash")}
    text = html.escape(str(described["name"]).replace("_", " "))
    if described["weight_hash"] != "none":
        text += f" <code>{html.escape(str(described['weight_hash']))}</code>"
    return f"{text}; {_numbers(extra)}" if extra else text


def _numbers(values: Mapping[str, Any]) -> str:
    shown = [(name, value) for name, value in values.items() if not isinstance(value, dict | list)]
    texts = [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in shown
    ]
    return html.escape(", ".join(texts))


def _training(training: Training) -> str:
    config, last = training.config, training.lines[-1]
    parts = [f"{last['step']:.0f} steps", f"batches of {config['batch_size']}", f"seed {config['seed']}"]
    if "structure_weight" in config:
        parts.append(
            f"weights of structure and identity {config['structure_weight']:g} and {config['identity_weight']:g}"
        )
    if "wall_time" in last:
        parts.append(_duration(last["wall_time"]))
    return html.escape(", ".join(parts))


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


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{html.escape(name)}</dt><dd>{text}</dd>' for name, text in rows)}</dl>"
