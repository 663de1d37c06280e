"""Making a dataset: plan the clips of each group of videos, make their features batch by batch, merge.

What a prepared folder holds:

    manifest.json           what made it and from which videos; written last
    videos.jsonl            what became of every file of the input
    rejected.jsonl          the files that could not be used, and why
    preview.html            a look at some clips
    clips/<split>/          the clips' own pixels and depth, and index.jsonl: the reference for evaluation (optional)
    clip_records/1.0.0/     the TFDS dataset
    added/001/              the same of the videos that were added to it first, and so on; see `adding`
    work/                   while the preparation runs, see `work`; removed at its end

With clips of several kinds, the last but one are in a folder for each: 480x720/clip_records for one size of videos,
25x480x720/clip_records for shorter clips of that size, 1x480x720/clip_records for still images, and so on. Batches are
the same whatever was finished before, so a killed preparation that is started again ends with the same dataset. (A file
that breaks between planning and reading loses the clips that can be read no longer, where bad input is passed over.)
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sr_jax.data.clips import CLIPS_FOLDER
from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.outputs import replacing, writing_to
from sr_jax.pages.clips import chosen_clips
from sr_jax.preparation.features import FeatureExtractor, Kept
from sr_jax.preparation.framing import Kind
from sr_jax.preparation.inputs import FoundFile
from sr_jax.preparation.overlap import WriteBehind, read_ahead
from sr_jax.preparation.planning import ClipPlan, Outcome, Planner, VideoPlan
from sr_jax.preparation.reading import ClipReader, CutClip
from sr_jax.preparation.work import Manifest, Shard, WorkFolder, refuse, write_features, write_json

# Batches that are read ahead, and calls that wait to be written.
_AHEAD, _BEHIND = 1, 1
# About so many clips leave a look for the preview.
_LOOKS = 24

Progress = Callable[[int, int], object]
"""Called with how many videos and how many clips have been finished since the last call."""


@dataclasses.dataclass(frozen=True)
class Preparation:
    """All that makes a dataset.

    Attributes:
        output: Folder of the dataset.
        files: All files of the input.
        planner: Plans their clips.
        reader: Cuts clips out of their videos.
        extractors: Makes the features of clips of each kind.
        empty_prompt: Embedding of the empty caption.
        look: What the preview shows of a clip, with its record and what is kept of it: see `preview.clip_look`.
        fps: Frames a second of a clip.
        batch_size: Clips in one call of an extractor, and files in a group.
        keep_clips: Keep the clips' pixels and depth, as reference for evaluation.
        table: The table of captions, for messages.
        unused_captions: One line for each of its rows that names no video.
        addition: To a dataset that is there already, the number of the addition; 0 for its first videos.

    Raises:
        UserError: When `batch_size` is not positive.
    """

    output: Path
    files: Sequence[FoundFile]
    planner: Planner
    reader: ClipReader
    extractors: Mapping[Kind, FeatureExtractor]
    empty_prompt: Float[np.ndarray, "l d"]
    look: Callable[[CutClip, dict[str, np.ndarray], Kept], dict[str, Any]]
    fps: float
    batch_size: int
    keep_clips: bool
    table: Path | None = None
    unused_captions: tuple[str, ...] = ()
    addition: int = 0

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}: it must be at least 1")

    @property
    def work(self) -> WorkFolder:
        """The work, in groups."""
        return WorkFolder(self.output, self.files, self.batch_size)

    @property
    def manifest(self) -> Manifest:
        """What the dataset is made from."""
        own = {
            "text": {"num_tokens": len(self.empty_prompt)},
            "fields": sorted(next(iter(self.extractors.values())).fields),
            "batch_size": self.batch_size,
            "keep_clips": self.keep_clips,
        }
        return Manifest(
            {str(kind): extractor.provenance for kind, extractor in self.extractors.items()},
            {**self.planner.settings, **own},
            tuple(f"{file.split}/{file.name}" for file in self.files),
            self.addition,
        )

    def folder(self, kind: Kind) -> Path:
        """Where the dataset of clips of one kind lies."""
        return self.output / str(kind) if len(self.extractors) > 1 else self.output


Plans = dict[int, list[VideoPlan]]
"""The plans of some groups, by their numbers."""


def plan_shard(preparation: Preparation, shard: Shard, progress: Progress) -> Plans:
    """Plans all clips of a shard without writing anything, to know of bad input before that.

    Raises:
        UserError: As `make_shard`.
    """
    work = preparation.work
    work.check(preparation.manifest)
    plans = {}
    for number in range(shard.index, len(work.groups), shard.count):
        plans[number] = _plans(preparation, work, number)
        progress(len(plans[number]), 0)
    return plans


def make_shard(preparation: Preparation, shard: Shard, progress: Progress, plans: Plans | None = None) -> None:
    """Makes the features of one shard's part of the clips, or what an earlier call did not finish of it.

    Args:
        preparation: What to make.
        shard: Which part of it.
        progress: Called as videos and clips are finished.
        plans: What `plan_shard` gave; without, each group is planned when its turn comes.

    Raises:
        UserError: When the output was begun with other input or settings or cannot be written, or for a bad video
            where that is an error.
    """
    work = preparation.work
    work.begin(preparation.manifest, shard)
    batches = _batches(preparation, work, range(shard.index, len(work.groups), shard.count), dict(plans or {}))
    with WriteBehind(_BEHIND) as writer:
        for batch in read_ahead(batches, _AHEAD):
            if batch.clips:
                writer.submit(_write, preparation, work, batch, _features(preparation, batch))
            progress(batch.videos, batch.finished)


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Clips of one kind to make together."""

    group: int
    clips: Sequence[CutClip]
    videos: int
    finished: int
    shown: frozenset[str] = frozenset()


def _plans(preparation: Preparation, work: WorkFolder, number: int) -> list[VideoPlan]:
    """The plans of a group, as stored if they are."""
    files, stored = work.groups[number], work.read_plans(number)
    if stored is None:
        return [preparation.planner(file) for file in files]
    refuse(preparation.output, changed(preparation.planner, files, [plan.outcome for plan in stored]))
    return stored


def changed(planner: Planner, files: Sequence[FoundFile], outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each file that is not as it was planned."""
    return [
        f"{file.split}/{file.name}: its video, depth, labels or caption changed"
        for file, outcome in zip(files, outcomes, strict=True)
        if not planner.is_unchanged(file, outcome)
    ]


def _batches(preparation: Preparation, work: WorkFolder, numbers: Sequence[int], known: Plans) -> Iterator[_Batch]:
    for number in numbers:
        plans = known.pop(number, None) or _plans(preparation, work, number)
        if work.read_plans(number) is None:
            work.write_plans(number, plans)
        made = 0
        for batch in _group_batches(preparation, work, number, plans):
            made += batch.finished
            yield batch
        yield _Batch(number, (), len(plans), sum(len(plan.clips) for plan in plans) - made)


@dataclasses.dataclass
class _Filling:
    """A batch that is being read: the clips still to come, by their keys, and those that were read."""

    missing: set[str]
    clips: list[CutClip] = dataclasses.field(default_factory=list)


def _group_batches(preparation: Preparation, work: WorkFolder, number: int, plans: list[VideoPlan]) -> Iterator[_Batch]:
    """The batches of a group that are not finished.

    A batch is done as a whole or again, and always of the same clips: the last bits of a result may depend on the rest
    of its batch.
    """
    batch_of: dict[str, _Filling] = {}
    for kind in preparation.extractors:
        clips = [clip for plan in plans for clip in plan.clips if clip.kind == kind]
        for start in range(0, len(clips), preparation.batch_size):
            batch = clips[start : start + preparation.batch_size]
            if not all(work.features_path(number, clip).exists() for clip in batch):
                keys = {_key(clip) for clip in batch}
                batch_of |= dict.fromkeys(keys, _Filling(keys))
    shown = _shown(len(preparation.files), number * preparation.batch_size, plans)
    for place, plan in enumerate(plans):
        wanted = [clip for clip in plan.clips if _key(clip) in batch_of]
        for key, clip in _read(preparation, work, number, plans, place, wanted):
            # Popped, so that nothing keeps the frames of a batch that is made.
            batch = batch_of.pop(key)
            batch.missing.remove(key)
            batch.clips += [clip] if clip else []
            if batch.clips and not batch.missing:
                yield _Batch(number, batch.clips, 0, len(batch.clips), shown)


def _read(
    preparation: Preparation,
    work: WorkFolder,
    number: int,
    plans: list[VideoPlan],
    place: int,
    wanted: Sequence[ClipPlan],
) -> Iterator[tuple[str, CutClip | None]]:
    """The wanted clips of one plan of a group, by their keys.

    What can be read no longer is None and taken out of the plan, where a bad video is no error.
    """
    unread = list(wanted)
    try:
        for clip in preparation.reader.clips(wanted):
            unread.pop(0)
            yield _key(clip.plan), clip
    except Exception as error:
        plans[place] = preparation.planner.without(work.groups[number][place], plans[place], unread, error)
        work.write_plans(number, plans)
        yield from ((_key(clip), None) for clip in unread)


def _shown(count: int, first: int, plans: Sequence[VideoPlan]) -> frozenset[str]:
    """Which clips of a group the preview may show: evenly spaced ones of evenly spaced videos.

    Args:
        count: Videos of the input.
        first: Place of the group's first video among them.
        plans: The group.
    """
    every, each = max(1, count // _LOOKS), max(1, _LOOKS // count)
    chosen = [plan.clips for place, plan in enumerate(plans, first) if place % every == 0]
    return frozenset(_key(clips[place]) for clips in chosen for place in chosen_clips(len(clips), each))


def _key(clip: ClipPlan) -> str:
    return f"{clip.source.split}/{clip.clip_id}"


_Made = list[tuple[CutClip, dict[str, np.ndarray], Kept]]


def _features(preparation: Preparation, batch: _Batch) -> _Made:
    """The features of a batch, with its clips."""
    extractor = preparation.extractors[batch.clips[0].plan.kind]
    made = extractor(batch.clips, preparation.batch_size)
    return [(clip, arrays, kept) for clip, (arrays, kept) in zip(batch.clips, made, strict=True)]


def _write(preparation: Preparation, work: WorkFolder, batch: _Batch, made: _Made) -> None:
    """Writes what was made of a batch; a clip's features last, because they say that it is finished.

    Raises:
        UserError: When something cannot be written.
    """
    with writing_to(preparation.output):
        for clip, arrays, kept in made:
            plan = clip.plan
            if _key(plan) in batch.shown:
                write_json(work.look_path(batch.group, plan), preparation.look(clip, arrays, kept))
            if preparation.keep_clips:
                folder = preparation.folder(plan.kind) / CLIPS_FOLDER / plan.source.split
                _keep_clip(folder, clip, kept, preparation.fps)
            write_features(work.features_path(batch.group, plan), arrays)


def _keep_clip(folder: Path, clip: CutClip, kept: Kept, fps: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = clip.plan.clip_id
    video.write_video(folder / f"{name}.mp4", clip.frames, fps, lossless=True)
    for slot, arrays in kept.items():
        with replacing(folder / f"{name}.{slot}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **{key: array.astype(np.float16) for key, array in arrays.items()})
