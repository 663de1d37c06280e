"""One contestant in a process of its own: does what it reads from standard input, and says how long that took.

  python -m benchmarks.side_by_side.worker PART CONTESTANT SETTINGS

Each line is the name of a method of the workload; each answer is a line of JSON with `seconds` and what it returned.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.side_by_side.settings import Settings

_OURS, _THEIRS = "benchmarks.side_by_side.ours", "benchmarks.side_by_side.theirs"
WORKLOADS = {
    ("attention", "sr_jax"): (_OURS, "Attention", {}),
    ("forward", "sr_jax"): (_OURS, "Forward", {}),
    ("forward", "pytorch"): (_THEIRS, "Forward", {}),
    ("forward", "pytorch_tuned"): (_THEIRS, "Forward", {"tuned": True}),
    ("training", "sr_jax"): (_OURS, "Training", {}),
    ("training", "pytorch"): (_THEIRS, "Training", {}),
    ("training", "pytorch_tuned"): (_THEIRS, "Training", {"tuned": True}),
    ("training", "stage_two"): (_OURS, "Training", {"aligned": True}),
    ("sampling", "sr_jax"): (_OURS, "Sampling", {}),
    ("sampling", "pytorch"): (_THEIRS, "Sampling", {}),
    ("sampling", "pytorch_tuned"): (_THEIRS, "Sampling", {"tuned": True}),
    ("t5", "sr_jax"): (_OURS, "TextEncoder", {}),
    ("t5", "pytorch"): (_THEIRS, "TextEncoder", {}),
    ("depth", "sr_jax"): (_OURS, "Depth", {}),
    ("depth", "pytorch"): (_THEIRS, "Depth", {}),
    ("input", "sr_jax"): (_OURS, "Input", {}),
    ("first_step", "sr_jax"): (_OURS, "Training", {}),
    ("first_step", "cached"): (_OURS, "Training", {}),
    ("first_step", "pytorch"): (_THEIRS, "Training", {}),
}
"""Module, class and options of each part and contestant. A workload has `prepare` (compiles), `create` (puts weights
and inputs on the device), `run` (does the work once and waits for it) and `about` (what is known afterwards)."""
for _way in ("encode", "decode"):
    for _tiled in (False, True):
        _part, _options = f"vae_{_way}{'_tiled' if _tiled else ''}", {"way": _way, "tiled": _tiled}
        WORKLOADS[_part, "sr_jax"] = (_OURS, "Codec", _options)
        WORKLOADS[_part, "pytorch"] = (_THEIRS, "Codec", _options)


def main() -> None:
    """Loads the workload, and serves it."""
    part, contestant, settings = sys.argv[1:]
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    module, name, options = WORKLOADS[part, contestant]
    workload = getattr(importlib.import_module(module), name)
    answer(imported=True)
    subject = None
    for line in sys.stdin:
        start = time.perf_counter()
        if subject is None:
            # Only now: the first thing that it does may be to take the device's memory.
            subject = workload(Settings(**json.loads(settings)), **options)
        returned = getattr(subject, line.strip())()
        answer(seconds=time.perf_counter() - start, returned=returned)


if __name__ == "__main__":
    main()
