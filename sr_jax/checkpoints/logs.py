"""What a training run logged: one line of metrics at a time."""

import json
from pathlib import Path

METRICS_FILE = "metrics.jsonl"
"""In a workdir."""


def read_metrics(workdir: Path) -> list[dict[str, float | int]]:
    """The lines of a workdir's `metrics.jsonl`, oldest first; a line that a kill cut short is left out."""
    path = workdir / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    # What follows the last newline was cut short.
    return [json.loads(line) for line in lines[:-1] if line]
