"""What a training run logged: one line of JSON at a time."""

import json
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"
"""In a workdir: metrics."""
SKIPPED_FILE = "skipped_steps.jsonl"
"""In a workdir, where there were any: `step` and `clips` (their ids) of the steps that were skipped."""

VIDEOS_FILE = "videos.jsonl"
"""In a workdir, where there are any: `step` and `videos` (names, and paths in the workdir) of sample clips."""


def read_metrics(workdir: Path) -> list[dict[str, float | int]]:
    """The lines of a workdir's `metrics.jsonl`, oldest first; a line that a kill cut short is left out."""
    return read_lines(workdir / METRICS_FILE)


def read_videos(workdir: Path) -> dict[int, dict[str, Path]]:
    """The sample clips of a workdir by step and name; those whose file is gone are left out."""
    found = {}
    for line in read_lines(workdir / VIDEOS_FILE):
        there = {name: workdir / path for name, path in line["videos"].items() if (workdir / path).is_file()}
        found |= {line["step"]: there} if there else {}
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, oldest first; a line that a kill cut short is left out. None when there is no such file."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    # What follows the last newline was cut short.
    return [json.loads(line) for line in lines[:-1] if line]
