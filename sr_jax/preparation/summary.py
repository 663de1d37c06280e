"""What was kept, what was not, and why."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sr_jax.data.faces import FaceCount, describe
from sr_jax.preparation.planning import Outcome

# How many rows of a table are shown.
_SHOWN = 4


class Summary:
    """Counts over the files of an input.

    Attributes:
        clips: Clips kept, by split.
        videos: Videos of which at least one clip was kept.
        images: Still images that were kept.
        rejected: Files that could not be used, by reason.
        dropped: Clips that were not wanted, by reason.
        prompts: Clips kept, by where their caption comes from.
        cut_prompts: Clips kept whose caption has more tokens than the text teacher takes.
        unused_captions: One line for each row of a table of captions that names no video.
        faces: How many of the clips kept have a face, by split, where that is known.
    """

    def __init__(self) -> None:
        self.clips: Counter[str] = Counter()
        self.videos = self.images = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.prompts: Counter[str] = Counter()
        self.cut_prompts = 0
        self.unused_captions: Sequence[str] = ()
        self.faces: Mapping[str, FaceCount] = {}

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Counts some more files."""
        for outcome in outcomes:
            if outcome.rejected:
                self.rejected[_kind(outcome)] += 1
            self.videos += bool(outcome.clips) and not outcome.still
            self.images += bool(outcome.clips) and outcome.still
            self.clips[outcome.split] += outcome.clips
            self.dropped.update(outcome.dropped)
            if outcome.prompt_from:
                self.prompts[outcome.prompt_from] += outcome.clips
            self.cut_prompts += outcome.clips if outcome.cut_prompt else 0

    def lines(self) -> list[str]:
        """The counts in words, one line each."""
        splits = ", ".join(f"{split} {count}" for split, count in sorted(self.clips.items(), reverse=True) if count)
        of = [_number(self.videos, "video")] if self.videos or not self.images else []
        of += [_number(self.images, "image")] if self.images else []
        kept = f"{_number(self.clips.total(), 'clip')} of {' and '.join(of)}"
        lines = [f"kept: {kept} ({splits or 'none'})"]
        if self.faces:
            lines.append(f"faces: {describe(self.faces)}")
        if self.prompts:
            lines.append(f"captions: {_counts(self.prompts)}")
        if self.cut_prompts:
            lines.append(
                f"captions cut: {_number(self.cut_prompts, 'clip')} (more tokens than the text teacher takes: the end "
                "that is not read is `cut_prompt` in videos.jsonl)"
            )
        if self.unused_captions:
            shown = "; ".join(self.unused_captions[:_SHOWN])
            lines.append(f"captions without a video: {_number(len(self.unused_captions), 'row')} ({shown})")
        if self.dropped:
            lines.append(f"dropped: {_number(self.dropped.total(), 'clip')} ({_counts(self.dropped)})")
        if self.rejected:
            lines.append(f"rejected: {_number(self.rejected.total(), 'file')} ({_counts(self.rejected)})")
        return lines


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in counter.most_common())


def _kind(outcome: Outcome) -> str:
    """The reason without the names, sizes and numbers of one file."""
    text = outcome.rejected.replace(outcome.file, "").split(":")[0]
    text = re.sub(r"\S*/\S*|\d[\d.]*", "", text)
    return " ".join(text.split()) or outcome.rejected
