"""The last step of a preparation: one dataset of what all shards made."""

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.data import builder
from sr_jax.data.builder import MANIFEST_FILE, WORK_FOLDER
from sr_jax.data.clips import CLIPS_FOLDER, INDEX_FILE
from sr_jax.data.fields import Fields
from sr_jax.data.records import RecordSpec
from sr_jax.errors import UserError
from sr_jax.outputs import remove_leftovers, replacing, writing_to
from sr_jax.preparation.dataset import Preparation, changed
from sr_jax.preparation.framing import Size
from sr_jax.preparation.inputs import SPLITS
from sr_jax.preparation.planning import ClipPlan, Outcome
from sr_jax.preparation.preview import build_preview
from sr_jax.preparation.summary import Summary
from sr_jax.preparation.work import WorkFolder, refuse, write_text

VIDEOS_FILE = "videos.jsonl"
REJECTED_FILE = "rejected.jsonl"
PREVIEW_FILE = "preview.html"


def merge(preparation: Preparation) -> Summary:
    """Makes the dataset of everything that the shards made, unless it is there already; removes the work folder.

    Raises:
        UserError: When a shard is not finished, no clip is left, or the output cannot be written.
    """
    work = preparation.work
    work.check(preparation.manifest)
    _require_finished(work)
    with writing_to(work.output):
        return _merge(preparation, work)


def _merge(preparation: Preparation, work: WorkFolder) -> Summary:
    summary = Summary()
    summary.add(_outcomes(work))
    # Written first: it says why, when nothing is left.
    rejected = ({"file": item.file, "reason": item.rejected} for item in _outcomes(work) if item.rejected)
    _write_lines(work.output / REJECTED_FILE, rejected)
    if not summary.clips.total():
        raise UserError(f"no clip is left ({'; '.join(summary.lines())}): see {work.output / REJECTED_FILE}")
    _write_lines(work.output / VIDEOS_FILE, map(dataclasses.asdict, _outcomes(work)))
    for size in preparation.extractors:
        _merge_size(preparation, work, size)
    looks = [json.loads(path.read_text()) for path in work.looks()]
    write_text(work.output / PREVIEW_FILE, build_preview(looks, preparation.manifest.provenance, summary))
    remove_leftovers(work.output)
    # Written last: it says that everything is there.
    write_text(work.output / MANIFEST_FILE, preparation.manifest.to_json())
    shutil.rmtree(work.output / WORK_FOLDER)
    return summary


def complete_summary(preparation: Preparation) -> Summary | None:
    """The summary of a complete dataset, or None where there is none yet.

    Raises:
        UserError: When the dataset was made of other input or with other settings.
    """
    output = preparation.output
    if not (output / MANIFEST_FILE).exists():
        return None
    preparation.work.check(preparation.manifest)
    outcomes = [Outcome(**json.loads(line)) for line in (output / VIDEOS_FILE).read_text().splitlines()]
    refuse(output, changed(preparation.planner, preparation.files, outcomes))
    shutil.rmtree(output / WORK_FOLDER, ignore_errors=True)
    summary = Summary()
    summary.add(outcomes)
    return summary


def _merge_size(preparation: Preparation, work: WorkFolder, size: Size) -> None:
    """Makes the dataset of the clips of one size, if there are any."""
    folder = preparation.folder(size)
    counts = Counter(clip.source.split for _, clip in _clips(work, size))
    if preparation.keep_clips:
        for split in counts:
            rows = (
                {**_description(clip), "labels": clip.source.labels}
                for _, clip in _clips(work, size)
                if clip.source.split == split
            )
            _write_lines(folder / CLIPS_FOLDER / split / INDEX_FILE, rows)
    if counts and not builder.has_dataset(folder):
        extractor = preparation.extractors[size]
        spec = _spec(work, size, extractor.fields)
        builder.write_dataset(
            folder,
            spec=spec,
            provenance=extractor.provenance,
            empty_prompt=preparation.empty_prompt,
            splits={split: _records(work, size, split, spec, preparation.fps) for split in SPLITS if counts[split]},
        )


def _require_finished(work: WorkFolder) -> None:
    for number, plans in enumerate(map(work.read_plans, range(len(work.groups)))):
        clips = [clip for plan in plans or () for clip in plan.clips]
        if plans is None or not all(work.features_path(number, clip).exists() for clip in clips):
            raise UserError(
                f"group {number} of {len(work.groups)} in {work.output} is not finished: run every --shard to its end, "
                "or run without --shard and --merge"
            )


def _outcomes(work: WorkFolder) -> Iterator[Outcome]:
    for number in range(len(work.groups)):
        for plan in work.read_plans(number) or ():
            yield plan.outcome


def _clips(work: WorkFolder, size: Size) -> Iterator[tuple[int, ClipPlan]]:
    """The clips of one size with the number of their group."""
    for number in range(len(work.groups)):
        for plan in work.read_plans(number) or ():
            for clip in plan.clips:
                if clip.size == size:
                    yield number, clip


def _spec(work: WorkFolder, size: Size, fields: Fields) -> RecordSpec:
    """The arrays of the records of one size, as its first clip has them."""
    number, clip = next(_clips(work, size))
    with np.load(work.features_path(number, clip), allow_pickle=False) as arrays:
        return RecordSpec.of(fields, {name: arrays[name].shape for name in fields})


def _records(work: WorkFolder, size: Size, split: str, spec: RecordSpec, fps: float) -> Iterator[dict[str, Any]]:
    for number, clip in _clips(work, size):
        if clip.source.split == split:
            with np.load(work.features_path(number, clip), allow_pickle=False) as arrays:
                yield {name: arrays[name] for name in spec.fields} | _description(clip) | {"fps": fps}


def _description(clip: ClipPlan) -> dict[str, Any]:
    return {
        "clip_id": clip.clip_id,
        "prompt": clip.source.prompt,
        # A name need not be text.
        "source": clip.source.path.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "source_first_frame": int(clip.indices[0]),
    }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
