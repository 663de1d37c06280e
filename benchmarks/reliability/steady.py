"""What grows and what saving costs: memory over 2,000 steps, the workdir over restarts, and the time of the steps.

  python -m benchmarks.reliability.steady [--steps 2000]

Writes results/reliability/steady.json. Memory is what the process holds at steps 200, 400, ... after a warm-up; the
checkpoints are those of a run that is killed and stopped in turn, five times each. The cost of saving is measured on
the config's own tiny model: 50 steps after a save against the 50 after them, 15 times in turn; the median ratio.
"""

import signal
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability import runs
from sr_jax.checkpoints.logs import read_metrics

_RESTARTS = 5
_KEEP = 2
# Log lines of 50 steps; the first compiles, the second is still warm-up.
_LINE, _WARM_UP = 50, 2


def main() -> None:
    """Measures the three and writes them."""
    args = runs.arguments(__doc__, steps=2000, turns=15)
    data, cache = runs.make_data(args.scratch / "data"), args.scratch / "cache"
    folder = args.scratch / f"steady_{time.time():.0f}"
    memory = _memory(folder / "memory", data, cache, args.steps)
    workdir = _restarts(folder / "restarts", data, cache)
    cost = _cost(folder / "saving", args.scratch / "tiny_data", cache, args.turns)
    runs.write(
        args.output,
        "steady",
        {
            "memory": memory,
            "restarts": workdir,
            "saving": cost,
            "holds": memory["holds"] and workdir["holds"] and cost["holds"],
        },
    )


def _memory(workdir: Path, data: Path, cache: Path, steps: int) -> dict[str, Any]:
    """Resident memory, read from outside."""
    every = steps // 10
    with runs.Run(workdir, data, cache, num_train_steps=steps, log_every=10, checkpoint_every=every) as run:
        held = {}
        for step in range(2 * every, steps, every):
            run.wait_for_step(step)
            held[step] = _resident_bytes(run.processes[0].pid) / 2**20
        run.finish()
    values = list(held.values())
    growth = statistics.mean(values[-2:]) / statistics.mean(values[:2]) - 1
    return {"mebibytes_by_step": held, "growth": growth, "holds": growth < 0.01}


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"process {pid} says nothing of its memory")


def _restarts(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """A run that is killed and started again, over and over; measured where it was told to stop, and has ended well."""
    kept, sizes, besides = [], [], []
    for _ in range(_RESTARTS):
        for number in (signal.SIGKILL, signal.SIGTERM):
            with runs.Run(folder, data, cache, num_train_steps=10_000, keep_checkpoints=_KEEP) as run:
                run.wait_for_step(run.step() + 10)
                run.signal(number)
                run.finish()
        steps = runs.checkpoint_steps(folder)
        kept.append(steps)
        sizes.append([_bytes(folder / "checkpoints" / str(step)) for step in steps])
        besides.append(_bytes(folder / "checkpoints") - sum(sizes[-1]))
    holds = max(map(len, kept)) <= _KEEP and not any(besides)
    return {"checkpoints": kept, "bytes": sizes, "bytes_besides": besides, "holds": holds}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cost(workdir: Path, data: Path, cache: Path, pairs: int) -> dict[str, Any]:
    """Seconds a step over the 50 steps after a save, against the next 50, in turn in one run.

    Two runs would differ by more than the cost: the machine is faster in one minute than in the next.
    """
    runs.make_data(data, clips=24, latent_channels=16, frames=13, height=64, width=48, text_shape=(24, 256))
    steps = _LINE * (_WARM_UP + 2 * pairs)
    length = {"num_train_steps": steps, "log_every": _LINE, "checkpoint_every": 2 * _LINE}
    runs.train(workdir, data, cache, own_model=True, **length, **{"optimizer.name": "muon"})
    lines = [1 / line["steps_per_second"] for line in read_metrics(workdir)[_WARM_UP:]]
    saving, not_saving = lines[::2], lines[1::2]
    ratios = [one / other for one, other in zip(saving, not_saving, strict=True)]
    cost = statistics.median(ratios) - 1
    return {"seconds_a_step": {"saving": saving, "not_saving": not_saving}, "cost": cost, "holds": cost <= 0.03}


if __name__ == "__main__":
    main()
