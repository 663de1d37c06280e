"""Runs that are told to stop, and one whose other half hangs.

  python -m benchmarks.reliability.stops

Writes results/reliability/stops.json:
- SIGTERM to a run that logs every 1,000 steps: how many seconds later it has ended, and how long a step takes;
- SIGTERM to one of two processes: the steps that both saved, and when; resumed, they end as a run that was not stopped;
- SIGSTOP to one of two processes: the other one ends with a stack dump and exit code 76; resumed, they end likewise.
"""

import re
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.reliability import runs

_TWO = {"processes": 2, "mesh.data": 4, "num_train_steps": 3000}
_LATER = 8


def main() -> None:
    """Stops three runs and writes how they ended."""
    args = runs.arguments(__doc__)
    data, cache = runs.make_data(args.scratch / "data"), args.scratch / "cache"
    folder = args.scratch / f"stops_{time.time():.0f}"
    alone, two, hung = _alone(folder, data, cache), _two(folder, data, cache), _hung(folder, data, cache)
    runs.write(
        args.output,
        "stops",
        {"alone": alone, "one_of_two": two, "hung": hung, "holds": alone["holds"] and two["holds"] and hung["holds"]},
    )


def _alone(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """A model whose step takes a while, so that steps under way would be many."""
    workdir = folder / "alone"
    slow = {"model.num_layers": 4, "model.num_attention_heads": 8, "model.attention_head_dim": 64, "batch_size": 16}
    slow |= {"num_train_steps": 100_000, "log_every": 1000, "checkpoint_every": 100_000}
    with runs.Run(workdir, data, cache, **slow) as run:
        # The checkpoint of the first step is there: a save is timed by that of the last.
        run.wait_until(lambda: runs.checkpoint_steps(workdir) == [1])
        began = time.monotonic()
        time.sleep(10)
        told = run.signal(signal.SIGTERM)
        codes, ended = run.finish(), time.monotonic()
    step = runs.checkpoint_steps(workdir)[-1]
    # The speed of the steps before, with which the first one is left out.
    seconds_a_step = (told - began) / max(1, step - 1)
    result = {"exit_codes": codes, "seconds": ended - told, "seconds_a_step": seconds_a_step, "step": step}
    # Two steps, and a save and the end of the process, which take less than 5 seconds here.
    return result | {"holds": codes == [75] and ended - told < 2 * seconds_a_step + 5}


def _two(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    workdir = folder / "two"
    with runs.Run(workdir, data, cache, **_TWO) as run:
        run.wait_for_step(5)
        sent, told = time.time(), run.signal(signal.SIGTERM, process=1)
        seen = run.follow()
        codes, ended, said = run.finish(), time.monotonic(), run.stderr()
    found = [re.search(r"told to stop: step (\d+) of 3000 is saved", text) for text in said]
    steps = [int(match[1]) if match else None for match in found]
    known = _noticed(said[1])
    at = max(step for when, step in seen if when <= known)
    equal = _resumes(workdir, folder / "two_calm", steps[0] or 0, data, cache)
    result = {
        "exit_codes": codes,
        "saved": steps,
        "logged_when_noticed": at,
        "seconds_to_notice": known - sent,
        "seconds": ended - told,
        "equal": equal,
    }
    good = codes == [75, 75] and steps[0] is not None and steps[0] == steps[1] and equal
    # The save is within the 5 seconds too.
    return result | {"holds": good and steps[0] <= at + 2 and ended - told < 5}


def _noticed(said: str) -> float:
    """When JAX noticed the signal to a process: it looks once a second, in which the steps of this model are many."""
    return datetime.fromisoformat(re.search(r"SIGTERM caught at ([-0-9T:.]{26})", said)[1] + "+00:00").timestamp()


def _hung(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    workdir, seconds = folder / "hung", 10.0
    with runs.Run(workdir, data, cache, **_TWO, **{"watchdog.step_seconds": seconds}) as run:
        run.wait_for_step(5)
        told = run.signal(signal.SIGSTOP, process=1)
        code = run.processes[0].wait(timeout=runs.PATIENCE)
        ended, said = time.monotonic(), run.stderr()[0]
    kept = runs.checkpoint_steps(workdir)
    equal = _resumes(workdir, folder / "hung_calm", kept[-1], data, cache)
    dump = "most recent call first" in said and "hung: step" in said
    result = {
        "exit_code": code,
        "seconds": ended - told,
        "watchdog_seconds": seconds,
        "stack_dump": dump,
        "equal": equal,
    }
    return result | {"kept": kept, "holds": code == 76 and dump and equal and ended - told < 3 * seconds}


def _resumes(workdir: Path, calm: Path, step: int, data: Path, cache: Path) -> bool:
    """Whether the run, started again, ends as one that was never stopped."""
    length = {"num_train_steps": step + _LATER}
    for folder in (workdir, calm):
        runs.train(folder, data, cache, **(_TWO | length))
    return runs.fingerprint(workdir) == runs.fingerprint(calm)


if __name__ == "__main__":
    main()
