"""Reads what a report is made of: runs with their scores, training logs, the dataset, timings."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_jax.checkpoints.logs import read_metrics, read_videos
from sr_jax.checkpoints.upgrade import upgraded
from sr_jax.data.builder import dataset_folders, open_dataset, read_provenance
from sr_jax.data.clips import CLIPS_FOLDER, INDEX_FILE, read_index
from sr_jax.data.records import Provenance
from sr_jax.errors import UserError
from sr_jax.evaluation.results import RESULTS_FILE, Results, read_results


@dataclasses.dataclass(frozen=True)
class Run:
    """One run that is compared.

    Attributes:
        name: What the reader calls it.
        style: CSS class of its colour.
        folder: Its generated clips.
        results: Its scores.
    """

    name: str
    style: str
    folder: Path
    results: Results


@dataclasses.dataclass(frozen=True)
class Training:
    """One training run.

    Attributes:
        name: What the reader calls it.
        style: CSS class of its colour: that of the run that samples from it, if there is one.
        config: Its config, in today's terms.
        lines: Its logged metrics, oldest first.
        videos: Files of the clips that it generated on its way, by step and name.
    """

    name: str
    style: str
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    videos: Mapping[int, Mapping[str, Path]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Step:
    """One command that was run: its name, the command line, when it began (Unix time), how many seconds it took."""

    name: str
    command: str
    began: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Everything that a report shows.

    Attributes:
        title: Title of the page.
        notes: What the reader must know beside, such as a teacher that is a stand-in.
        runs: What is compared; the last is the baseline.
        reference: Folder of the real clips.
        provenance: Of the dataset.
        clips: Number of clips of each split.
        training_people: Who the training clips show, where all their labels say so; otherwise None.
        trainings: Training runs.
        fitted: Numbers of fitted teachers and judges, by name.
        steps: What was run.
    """

    title: str
    notes: Sequence[str]
    runs: Sequence[Run]
    reference: Path
    provenance: Provenance
    clips: dict[str, int]
    training_people: set[Any] | None
    trainings: Sequence[Training]
    fitted: dict[str, dict[str, Any]]
    steps: Sequence[Step]

    @property
    def with_depth(self) -> bool:
        """Whether a judge read depth in the generated clips."""
        return "structure" in self.runs[0].results.about["judges"]

    @property
    def baseline(self) -> Run:
        """The run that the others are compared with."""
        return self.runs[-1]


def read_inputs(
    *,
    title: str,
    notes: Sequence[str],
    data: Path,
    runs: Sequence[str],
    trainings: Sequence[str],
    fitted: Sequence[str],
    steps: Path | None,
) -> Inputs:
    """Reads the files of a report.

    Args:
        title: Title of the page.
        notes: Sentences for the reader.
        data: Dataset that `prepare` wrote.
        runs: `NAME=FOLDER` for each folder of generated and scored clips; the last is the baseline.
        trainings: `NAME=WORKDIR` for each training run whose curves are shown.
        fitted: `NAME=FILE` for each JSON file of a fitted teacher's numbers.
        steps: JSON lines `{"name", "command", "began", "seconds"}` of what was run, or None.

    Raises:
        UserError: When something is missing or named twice, the dataset holds several sizes, or the runs were not
            scored on the same clips by the same judges.
    """
    _require_one_size(data)
    read_runs = [
        Run(name, f"run{index}", folder, read_results(folder / RESULTS_FILE))
        for index, (name, folder) in enumerate(_named_paths("run", runs))
    ]
    _require_codec(read_runs)
    _require_same_clips(read_runs)
    _require_same_judges(read_runs)
    reference = Path(read_runs[0].results.about["reference"])
    return Inputs(
        title=title,
        notes=notes,
        runs=read_runs,
        reference=reference,
        provenance=read_provenance(data),
        clips={split: len(open_dataset(data, split)) for split in _splits(data)},
        training_people=_training_people(data),
        trainings=[_read_training(name, path, read_runs) for name, path in _named_paths("training", trainings)],
        fitted={name: _read_json(path) for name, path in _named_paths("fitted", fitted)},
        steps=[] if steps is None else _read_steps(steps),
    )


def _require_one_size(data: Path) -> None:
    folders = dataset_folders(data)
    if len(folders) > 1:
        raise UserError(f"{data} holds clips of several sizes: give --data that of the runs, such as {folders[0]}")


def _named_paths(flag: str, arguments: Sequence[str]) -> list[tuple[str, Path]]:
    pairs: list[tuple[str, Path]] = []
    for argument in arguments:
        name, sign, path = argument.partition("=")
        if not (name and sign and path):
            raise UserError(f"{argument!r} is not NAME=PATH")
        if name in dict(pairs):
            raise UserError(f"--{flag} names {name!r} twice: give every {flag} a name of its own")
        pairs.append((name, Path(path)))
    return pairs


def _require_codec(runs: Sequence[Run]) -> None:
    for run in runs:
        if "codec" not in run.results.means:
            raise UserError(
                f"{run.folder} was scored as video files: a report is of what `sample --data` wrote, scored as latents"
            )


def _require_same_clips(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise UserError("give --run at least twice: a report compares runs, the last of them is the baseline")
    first = [clip["clip_id"] for clip in runs[0].results.clips]
    if len(first) < 2:
        raise UserError(f"{runs[0].folder} holds {len(first)} scored clip: a comparison needs more")
    for run in runs[1:]:
        if [clip["clip_id"] for clip in run.results.clips] != first:
            raise UserError(
                f"{runs[0].folder} and {run.folder} were not scored on the same clips: sample and evaluate again"
            )


def _require_same_judges(runs: Sequence[Run]) -> None:
    first = runs[0]
    expected = _scored_by(first)
    for run in runs[1:]:
        found = _scored_by(run)
        for name in sorted(expected.keys() | found.keys()):
            if found.get(name) != expected.get(name):
                raise UserError(
                    f"{first.folder} and {run.folder} were not scored alike: {name} is {expected.get(name)} and "
                    f"{found.get(name)}; evaluate them again with the same"
                )


def _scored_by(run: Run) -> dict[str, Any]:
    """The metrics, the judges and the real clips that a run was scored with, however their folders were written."""
    about = run.results.about
    metrics = [metric.name for metric in run.results.metrics]
    scored_by = about["judges"] | {"reference": str(Path(about["reference"]).resolve()), "metrics": metrics}
    if structure := about["judges"].get("structure"):
        scored_by["structure"] = structure | {"workdir": str(Path(structure["workdir"]).resolve())}
    return scored_by


def _read_training(name: str, workdir: Path, runs: Sequence[Run]) -> Training:
    lines = read_metrics(workdir)
    if not lines:
        raise UserError(f"{workdir} has no logged metrics: name the workdir of a training run")
    sampled = {Path(run.results.about["made_by"]["checkpoint"]).resolve(): run.style for run in runs}
    config = upgraded(_read_json(workdir / "config.json"))
    return Training(name, sampled.get(workdir.resolve(), ""), config, lines, read_videos(workdir))


def _splits(data: Path) -> list[str]:
    return sorted((path.parent.name for path in data.glob(f"{CLIPS_FOLDER}/*/{INDEX_FILE}")), reverse=True)


def _training_people(data: Path) -> set[Any] | None:
    """Of the dataset's kept training clips."""
    folder = data / CLIPS_FOLDER / "train"
    if not (folder / INDEX_FILE).is_file():
        return None
    people = {entry["labels"].get("identity") for entry in read_index(folder).values()}
    return None if None in people else people


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"no file {path}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file") from error


def _read_steps(path: Path) -> list[Step]:
    if not path.is_file():
        raise UserError(f"no file {path}")
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [Step(row["name"], row["command"], float(row["began"]), float(row["seconds"])) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'{path} must hold lines like {{"name": ..., "command": ..., "began": ..., "seconds": ...}}'
        ) from error
