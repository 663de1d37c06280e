"""The last step of a preparation: what all shards made becomes the dataset, or a part that is added to it.

Whatever is written again holds all that it held before, and the manifest is written last: killed at any moment, a
dataset that was there stays as it was, and the same command finishes the part.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sr_jax.data import builder
from sr_jax.data.builder import MANIFEST_FILE
from sr_jax.data.clips import CLIPS_FOLDER, INDEX_FILE, read_index
from sr_jax.data.fields import Fields
from sr_jax.data.records import RecordSpec
from sr_jax.data.writing import write_dataset
from sr_jax.errors import UserError
from sr_jax.outputs import remove_leftovers, replacing, writing_to
from sr_jax.preparation.adding import VIDEOS_FILE, read_outcomes
from sr_jax.preparation.dataset import Preparation
from sr_jax.preparation.framing import Kind
from sr_jax.preparation.inputs import SPLITS
from sr_jax.preparation.planning import ClipPlan, Outcome
from sr_jax.preparation.preview import build_preview
from sr_jax.preparation.summary import Summary
from sr_jax.preparation.work import WorkFolder, read_features, write_text

REJECTED_FILE = "rejected.jsonl"
PREVIEW_FILE = "preview.html"

Progress = Callable[[int, int], object]
"""Called with how many clips have been written since the last call, and how many there are to write."""


def merge(preparation: Preparation, progress: Progress = lambda done, total: None) -> None:
    """Makes everything that the shards made a dataset, or adds it to the one that is there; removes the work folder.

    Args:
        preparation: What was made, as `adding.next_part` gives it.
        progress: Called as clips are written.

    Raises:
        UserError: When a shard is not finished, no clip is left, or the output cannot be written.
    """
    work = preparation.work
    work.check(preparation.manifest)
    _require_finished(work)
    with writing_to(work.output):
        _merge(preparation, work, progress)


def read_summary(preparation: Preparation) -> Summary:
    """The summary of a dataset that is there."""
    summary = Summary()
    summary.add(read_outcomes(preparation.work))
    summary.unused_captions = preparation.unused_captions
    summary.faces = builder.read_faces(preparation.output)
    return summary


def _merge(preparation: Preparation, work: WorkFolder, progress: Progress) -> None:
    done, added = work.done(), list(_outcomes(work))
    outcomes = read_outcomes(work) + added
    summary = Summary()
    summary.add(outcomes)
    summary.unused_captions = preparation.unused_captions
    # Written first: it says why, when nothing is left.
    rejected = [{"file": item.file, "reason": item.rejected} for item in outcomes if item.rejected]
    rejected += [{"file": str(preparation.table), "reason": f"no video: {row}"} for row in preparation.unused_captions]
    _write_lines(work.output / REJECTED_FILE, rejected)
    if not summary.clips.total():
        raise UserError(f"no clip is left ({'; '.join(summary.lines())}): see {work.output / REJECTED_FILE}")
    total = sum(outcome.clips for outcome in added)
    for kind in preparation.extractors:
        _merge_kind(preparation, work, kind, lambda written: progress(written, total))
    _write_lines(work.output / VIDEOS_FILE, map(dataclasses.asdict, outcomes))
    _write_preview(preparation, work, added)
    remove_leftovers(work.output)
    manifest = preparation.manifest
    if done is not None:
        manifest = dataclasses.replace(manifest, videos=done.videos + manifest.videos)
    # Written last: it says that everything is there.
    write_text(work.output / MANIFEST_FILE, manifest.to_json())
    work.remove()


def _write_preview(preparation: Preparation, work: WorkFolder, outcomes: Iterable[Outcome]) -> None:
    """A look at some of the clips that were made; of additions beside the first one."""
    summary = Summary()
    summary.add(outcomes)
    path = work.output / PREVIEW_FILE
    if preparation.addition:
        path = path.with_stem(f"{path.stem}_{preparation.addition:03d}")
    looks = [json.loads(look.read_text()) for look in work.looks()]
    write_text(path, build_preview(looks, preparation.manifest.provenance, summary))


def _merge_kind(preparation: Preparation, work: WorkFolder, kind: Kind, progress: Callable[[int], object]) -> None:
    """Makes the dataset of the clips of one kind, or what is added to it, if there are any."""
    folder = preparation.folder(kind)
    splits = _clips(work, kind, preparation.fps)
    if preparation.keep_clips:
        for split, clips in splits.items():
            _write_index(folder / CLIPS_FOLDER / split, clips.plans)
    part = builder.added_folder(folder, preparation.addition) if preparation.addition else folder
    if splits and not builder.has_dataset(part):
        extractor = preparation.extractors[kind]
        spec = _spec(next(iter(splits.values())), extractor.fields)
        if builder.part_folders(folder) and builder.read_spec(folder).array_shapes() != spec.array_shapes():
            raise UserError(f"the arrays of new clips have other shapes than those in {folder}: choose another output")
        write_dataset(
            part,
            spec=spec,
            provenance=extractor.provenance,
            empty_prompt=preparation.empty_prompt,
            splits=splits,
            progress=progress,
        )


def _write_index(folder: Path, plans: Iterable[ClipPlan]) -> None:
    """The index of the kept clips of a split: those that were there, and those that were made."""
    rows = read_index(folder) if (folder / INDEX_FILE).exists() else {}
    rows |= {clip.clip_id: {**_description(clip), "labels": clip.source.labels} for clip in plans}
    _write_lines(folder / INDEX_FILE, rows.values())


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


class _Clips(Mapping[str, dict[str, Any]]):
    """The records of the clips of one kind and split by their ids, each read from its features when asked for."""

    def __init__(self, files: Mapping[str, tuple[Path, ClipPlan]], fps: float):
        self._files, self._fps = files, fps

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __getitem__(self, clip_id: str) -> dict[str, Any]:
        features, clip = self._files[clip_id]
        return read_features(features) | _description(clip) | {"fps": self._fps}

    @property
    def plans(self) -> Iterator[ClipPlan]:
        """The clips, in the order of the input."""
        return (clip for _, clip in self._files.values())


def _clips(work: WorkFolder, kind: Kind, fps: float) -> dict[str, _Clips]:
    """The clips of one kind, by their splits; no split without any."""
    files: dict[str, dict[str, tuple[Path, ClipPlan]]] = {split: {} for split in SPLITS}
    for number in range(len(work.groups)):
        for plan in work.read_plans(number) or ():
            for clip in plan.clips:
                if clip.kind == kind:
                    files[clip.source.split][clip.clip_id] = (work.features_path(number, clip), clip)
    return {split: _Clips(found, fps) for split, found in files.items() if found}


def _spec(clips: _Clips, fields: Fields) -> RecordSpec:
    """The arrays of the records of one kind, as its first clip has them."""
    first = clips[next(iter(clips))]
    return RecordSpec.of(fields, {name: first[name].shape for name in fields})


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
