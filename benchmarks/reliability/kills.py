"""A tiny run that is killed 100 times at random moments, and started again each time.

  python -m benchmarks.reliability.kills [--kills 100]

Writes results/reliability/kills.json. The moments fall into training, saving and restoring: a third of them are random
seconds after the start, a third random milliseconds after a step, a third while a checkpoint is being written. After
each kill every checkpoint is read whole; at the end the parameters are compared, bit for bit, with those of a run that
was never disturbed. A kill that was done is in the scratch folder, and is not done again.
"""

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability import runs

_KINDS = ("start", "step", "save")
_MOST_STEPS = 4
"""Steps between a start and its kill, but for those that are done while the kill is on its way."""


def main() -> None:
    """Kills, compares and writes how it went."""
    args = runs.arguments(__doc__, kills=100, seed=0)
    scratch, data = args.scratch / "kills", runs.make_data(args.scratch / "data")
    cache = args.scratch / "cache"
    # There is something left to do after the last kill.
    steps = {"num_train_steps": 40 + (_MOST_STEPS + 2) * args.kills}
    calm, killed, log = scratch / "calm", scratch / "killed", scratch / "kills.jsonl"
    runs.train(calm, data, cache, **steps)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for number in range(len(done), args.kills):
        kill = _kill(number, random.Random(1000 * args.seed + number), killed, data, cache, steps)
        done.append(kill)
        with log.open("a") as file:
            file.write(json.dumps(kill) + "\n")
        print(json.dumps(kill), flush=True)
    runs.train(killed, data, cache, **steps)
    equal = runs.fingerprint(calm) == runs.fingerprint(killed)
    unreadable = [step for kill in done for step in kill["unreadable"]]
    left = [path.name for path in (killed / "checkpoints").iterdir() if "tmp" in path.name]
    runs.write(
        args.output,
        "kills",
        {
            "kills": len(done),
            "by_kind": {kind: sum(kill["kind"] == kind for kill in done) for kind in _KINDS},
            "last_step": steps["num_train_steps"],
            "unreadable_checkpoints": unreadable,
            "equal_to_the_undisturbed_run": equal,
            "left_over": left,
            "holds": equal and not unreadable and not left,
        },
    )


def _kill(
    number: int, rng: random.Random, workdir: Path, data: Path, cache: Path, steps: dict[str, int]
) -> dict[str, Any]:
    kind = _KINDS[number % len(_KINDS)]
    with runs.Run(workdir, data, cache, **steps) as run:
        before = run.step()
        if kind == "start":
            deadline = time.monotonic() + rng.uniform(0.5, 15.0)
            # A fast machine would be done before the last kill.
            run.wait_until(lambda: time.monotonic() > deadline or run.step() > before + _MOST_STEPS)
        elif kind == "step":
            run.wait_for_step(min(before + rng.randint(1, _MOST_STEPS), steps["num_train_steps"] - 1))
            time.sleep(rng.uniform(0.0, 0.2))
        else:
            run.wait_for_step(before + 1)
            run.wait_until(lambda: any((workdir / "checkpoints").glob("*tmp*")))
            time.sleep(rng.uniform(0.0, 0.05))
        run.signal(signal.SIGKILL)
        [code] = run.finish()
    return {"kind": kind, "exit_code": code, "logged": run.step(), **_readable(workdir)}


def _readable(workdir: Path) -> dict[str, Any]:
    """Which checkpoints there are, and which of them cannot be read."""
    steps, unreadable = runs.checkpoint_steps(workdir), []
    for step in steps:
        try:
            runs.fingerprint(workdir, step=step)
        # Whatever it is, it is counted.
        except Exception as error:
            unreadable.append({"step": step, "error": f"{type(error).__name__}: {error}"[:200]})
            shutil.copytree(
                workdir / "checkpoints" / str(step), workdir.parent / f"unreadable_{step}", dirs_exist_ok=True
            )
    return {"checkpoints": steps, "unreadable": unreadable}


if __name__ == "__main__":
    main()
