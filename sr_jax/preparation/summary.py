"""What was kept, what was not, and why."""

import re
from collections import Counter
from collections.abc import Iterable

from sr_jax.preparation.planning import Outcome


class Summary:
    """Counts over the files of an input.

    Attributes:
        clips: Clips kept, by split.
        videos: Videos of which at least one clip was kept.
        rejected: Files that could not be used, by reason.
        dropped: Clips that were not wanted, by reason.
    """

    def __init__(self) -> None:
        self.clips: Counter[str] = Counter()
        self.videos = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Counts some more files."""
        for outcome in outcomes:
            if outcome.rejected:
                self.rejected[_kind(outcome)] += 1
            self.videos += bool(outcome.clips)
            self.clips[outcome.split] += outcome.clips
            self.dropped.update(outcome.dropped)

    def lines(self) -> list[str]:
        """The counts in words, one line each."""
        splits = ", ".join(f"{split} {count}" for split, count in sorted(self.clips.items(), reverse=True) if count)
        kept = f"{_number(self.clips.total(), 'clip')} of {_number(self.videos, 'video')}"
        lines = [f"kept: {kept} ({splits or 'none'})"]
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
