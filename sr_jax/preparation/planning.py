"""From a video to the clips that are made of it, without keeping any pixels."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from sr_jax.errors import UserError
from sr_jax.media.decoding import VideoInfo, scan_video
from sr_jax.media.shots import ShotFinder, ShotOptions
from sr_jax.preparation.captions import Captions
from sr_jax.preparation.framing import (
    ClipOptions,
    DropOptions,
    Kind,
    Size,
    Window,
    cut_shot,
    drop_reason,
    frame_person,
    nearest_size,
    poor_source,
)
from sr_jax.preparation.inputs import FoundFile, Source, digest, read_source
from sr_jax.preparation.people import Look, PersonFinder, PersonOptions, Watcher
from sr_jax.teachers.base import FeatureTeacher


@dataclasses.dataclass(frozen=True)
class ClipPlan:
    """One clip to make.

    Attributes:
        clip_id: Unique in its split.
        source: Its video.
        indices: Frames `[F]` of the video, ascending.
        size: Pixels of the clip.
        window: The part of the frames that it shows.
        short: Whether it has fewer frames than `ClipOptions.num_frames`, because its shot is too short.
    """

    clip_id: str
    source: Source
    indices: Int[np.ndarray, " f"]
    size: Size
    window: Window
    short: bool = False

    @property
    def kind(self) -> Kind:
        """What tells it from clips of other datasets."""
        return Kind(self.size, len(self.indices) if self.short or self.source.still else None)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one file of the input.

    Attributes:
        file: Its path.
        split: "train" or "test".
        name: See `FoundFile`.
        digest: Tells whether the video, what lies beside it or its caption changed; "" for a rejected file.
        rejected: Why the file cannot be used; "" when it can.
        dropped: For each reason, how many clips are not wanted.
        clips: How many clips are made of it.
        prompt_from: Where their caption comes from, see `Source`.
        cut_prompt: The end of the caption, where the text teacher has no tokens for it.
        still: Whether it is a still image.
    """

    file: str
    split: str
    name: str
    digest: str = ""
    rejected: str = ""
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    clips: int = 0
    prompt_from: str = ""
    cut_prompt: str = ""
    still: bool = False


@dataclasses.dataclass(frozen=True)
class VideoPlan:
    """What becomes of one file of the input, and the clips to make."""

    outcome: Outcome
    clips: tuple[ClipPlan, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        fields: dict[str, Any] = {"outcome": dataclasses.asdict(self.outcome)}
        if self.clips:
            source = self.clips[0].source
            fields |= {"prompt": source.prompt, "labels": source.labels}
            fields["clips"] = [
                {name: getattr(clip, name) for name in ("clip_id", "size", "window", "short")}
                | {"indices": clip.indices.tolist()}
                for clip in self.clips
            ]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any], file: FoundFile) -> "VideoPlan":
        """Reads what `to_json` gave for a file, wherever that lies now."""
        outcome = Outcome(**fields["outcome"])
        prompt, labels = fields.get("prompt", ""), fields.get("labels", {})
        source = Source(file.path, file.split, file.name, prompt, labels, outcome.prompt_from, file.still)
        clips = tuple(
            ClipPlan(
                clip["clip_id"],
                source,
                np.array(clip["indices"]),
                Size(*clip["size"]),
                Window(*clip["window"]),
                # What an older version did not write.
                clip.get("short", False),
            )
            for clip in fields.get("clips", [])
        )
        return cls(outcome, clips)


class Planner:
    """Reads videos once from end to end and plans their clips.

    Attributes:
        settings: What the plans depend on besides the videos, as JSON values.
    """

    def __init__(
        self,
        *,
        clip: ClipOptions,
        shots: ShotOptions,
        person: PersonOptions,
        drop: DropOptions,
        finder: PersonFinder | None,
        teachers: Mapping[str, FeatureTeacher],
        captions: Captions,
        default_prompt: str,
        strict: bool,
        cut: Callable[[str], str] = lambda prompt: "",
    ):
        """Reads nothing yet.

        Args:
            clip: What clips look like.
            shots: How shots are found.
            person: How the person is framed.
            drop: Which clips are not wanted.
            finder: Finds people; None when they are not looked for.
            teachers: By their slots, to check what lies beside the videos.
            captions: See `read_source`.
            default_prompt: Likewise.
            strict: Whether a bad video is an error.
            cut: The end of a caption that is lost to the text teacher, see `TextTeacher.cut`.

        Raises:
            UserError: When clips are to be dropped for their people and people are not looked for, or not counted.
        """
        if finder is None and drop.no_person:
            raise UserError("drop.no_person needs person.name: set it to face")
        if drop.several_people and not (finder and finder.tells_apart):
            raise UserError(f"drop.several_people needs person.name=face: {person.name} does not tell people apart")
        self._clip, self._shots, self._person, self._drop = clip, shots, person, drop
        self._finder, self._teachers = finder, teachers
        self._captions, self._default_prompt, self._strict, self._cut_prompt = captions, default_prompt, strict, cut
        parts = {"clip": clip, "shots": shots, "person": person, "drop": drop}
        # As they are read back.
        self.settings = json.loads(json.dumps({name: dataclasses.asdict(part) for name, part in parts.items()}))
        self.settings |= {slot: dict(teacher.settings) for slot, teacher in teachers.items() if teacher.settings}

    def __call__(self, file: FoundFile) -> VideoPlan:
        """The clips of one file, or why it cannot be used.

        Raises:
            UserError: For a bad video, when that is an error.
        """
        try:
            return self._plan_file(file)
        # Among many files there is one that breaks a decoder in a way that nobody thought of.
        except Exception as error:
            return self._rejected(file, error)

    def without(self, file: FoundFile, plan: VideoPlan, lost: Sequence[ClipPlan], error: Exception) -> VideoPlan:
        """What is left of a plan when clips of it cannot be read, though the file could be when it was planned.

        Args:
            file: The file.
            plan: Its plan.
            lost: Clips of the plan.
            error: Why they cannot be read; raised, when a bad video is an error.
        """
        rejected = self._rejected(file, error)
        gone = {clip.clip_id for clip in lost}
        clips = tuple(clip for clip in plan.clips if clip.clip_id not in gone)
        if not clips:
            return rejected
        reason = "cannot be read" if isinstance(error, UserError) else f"{type(error).__name__} while reading"
        dropped = {**plan.outcome.dropped, reason: len(lost)}
        return VideoPlan(dataclasses.replace(plan.outcome, dropped=dropped, clips=len(clips)), clips)

    def _rejected(self, file: FoundFile, error: Exception) -> VideoPlan:
        """Says why a file cannot be used, or raises it."""
        expected = isinstance(error, UserError)
        if self._strict and (file.claims_video or not expected):
            raise error
        reason = str(error) if expected else f"{type(error).__name__} while reading {file.path}: {error}".rstrip(": ")
        return VideoPlan(Outcome(str(file.path), file.split, file.name, rejected=reason))

    def _plan_file(self, file: FoundFile) -> VideoPlan:
        if file.problem:
            raise UserError(file.problem)
        try:
            source = read_source(file, self._captions, self._default_prompt)
            clips, dropped = self._plan(source)
            shown = digest(file, source.prompt, self._teachers)
            outcome = Outcome(
                file=str(file.path),
                split=file.split,
                name=file.name,
                digest=shown,
                dropped=dropped,
                clips=len(clips),
                prompt_from=source.prompt_from,
                cut_prompt=self._cut_prompt(source.prompt),
                still=source.still,
            )
        # A caption or depth that may not be read, or a folder that is gone by now.
        except OSError as error:
            raise UserError(f"cannot read {error.filename or file.path}: {error.strerror}") from error
        return VideoPlan(outcome, tuple(clips))

    def is_unchanged(self, file: FoundFile, outcome: Outcome) -> bool:
        """Whether what was planned for a file still holds. A rejected file stays so until everything is made anew."""
        if outcome.rejected:
            return True
        try:
            source = read_source(file, self._captions, self._default_prompt)
            return outcome.digest == digest(file, source.prompt, self._teachers)
        # What may not be read any more is not what it was.
        except (UserError, OSError):
            return False

    def _plan(self, source: Source) -> tuple[list[ClipPlan], dict[str, int]]:
        finder = ShotFinder(self._shots)
        watching = self._finder is not None or self._drop.least_motion > 0
        watcher = Watcher(self._finder, self._person.looks_per_second) if watching else None
        looking = [finder, watcher] if watcher else [finder]
        info = scan_video(source.path, looking, self._clip.frames_fps, still=source.still)
        for teacher in self._teachers.values():
            teacher.check(source.path, info)
        self._check_sizes(source, info)
        looks = watcher.looks() if watcher else []
        clips, dropped = [], Counter()
        cuts = self._cut(source, info, finder.shots(info.times))
        for indices in cuts:
            height, width = info.sizes[indices[0]].tolist()
            size = nearest_size(height, width, self._clip.sizes)
            shown = _looks_inside(looks, indices)
            # All that the video shows from the clip's first frame to its last one: a clip may leave frames out.
            times = info.times[indices[0] : indices[-1] + 1]
            reason = poor_source(height, width, times, self._drop) or (
                drop_reason(shown, self._drop) if looks else None
            )
            if reason:
                dropped[reason] += 1
                continue
            window = frame_person(shown, height, width, size, self._person)
            short = len(indices) < self._clip.num_frames and not source.still
            clips.append(ClipPlan(f"{source.name}-{indices[0]:05d}", source, indices, size, window, short))
        return clips, dict(dropped)

    def _check_sizes(self, source: Source, info: VideoInfo) -> None:
        """Refuses a video that changes its size when something of one size lies beside its frames."""
        if (info.sizes == info.sizes[0]).all():
            return
        for slot, teacher in self._teachers.items():
            if teacher.beside(source.path) is not None:
                raise UserError(f"{source.path} changes its size, and {slot} beside it is of one size: cut it there")

    def _cut(self, source: Source, info: VideoInfo, shots: Sequence[tuple[int, int]]) -> list[Int[np.ndarray, " f"]]:
        options, clips = self._clip, []
        for first, end in shots:
            clips += [indices + first for indices in cut_shot(info.times[first:end], options, still=source.still)]
        if not clips:
            what = source.path if shots == [(0, info.num_frames)] else f"every shot of {source.path}"
            raise UserError(
                f"{what} is too short: {info.num_frames} frames at {info.fps:g} frames a second, but one clip is "
                f"{options.frame_counts[-1]} frames at {options.fps:g}"
            )
        return clips


def _looks_inside(looks: Sequence[Look], indices: Int[np.ndarray, " f"]) -> Sequence[Look]:
    """The looks during a clip, or the one before it when there is none: the first frame is always looked at."""
    frames = [look.frame for look in looks]
    first, end = np.searchsorted(frames, indices[0]), np.searchsorted(frames, indices[-1], side="right")
    return looks[first:end] if first < end else looks[max(0, first - 1) : first]
