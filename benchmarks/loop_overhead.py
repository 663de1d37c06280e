"""What the training loop adds to its jitted step, how long it waits for data, and whether steps stay as fast.

  python -m benchmarks.loop_overhead

Writes benchmarks/results/loop_overhead.json. The base stage of the `tiny` config on random records. In turn, in one
process: a run of the loop (`train`, with data, logs and checks), and the same jitted step alone on batches that are on
the device already, with two steps in flight as in the loop. Of every pair there is also the processor time of a step,
for a machine that others use, and of the thread that runs the loop, which waits for the device most of the time: what
it does more than the step alone takes, over a step's time, is what the loop can add at most, and hardly varies.

At the end one run of `--flat` steps, and how long each 100 of them took: of a transformer of one block on one clip, so
that what the loop adds, and could add more and more of, is a large part of a step.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.side_by_side.__main__ import machine
from sr_jax.configs import base
from sr_jax.data.pipeline import TrainBatches
from sr_jax.data.records import Provenance
from sr_jax.data.writing import write_dataset
from sr_jax.parallel.batches import place, to_global
from sr_jax.parallel.mesh import make_mesh
from sr_jax.training import builders
from sr_jax.training.loop import make_data, make_state, train
from sr_jax.training.program import build_program, record_spec, shardings
from sr_jax.training.results import StepResults
from sr_jax.training.state import SKIPPED

RESULT = Path(__file__).parent / "results" / "loop_overhead.json"
PAIRS, STEPS, FLAT = 5, 40, 2000
_CLIPS, _BATCHES = 64, 4
# Steps of a run that are not counted: one compiles, and the checkpoint behind it is written beside the next ones.
_FIRST = 10


def main() -> None:
    """Measures the pairs, and then the long run; writes the result behind each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each turn")
    parser.add_argument("--flat", type=int, default=FLAT, help="steps of the long run, a multiple of 100; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # Every run compiles what the first one did.
        jax.config.update("jax_compilation_cache_dir", f"{scratch}/compiled")
        config = _config(Path(scratch))
        # What is not measured this time stays.
        result: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {}
        result |= {"machine": machine(), "jax": jax.__version__}
        pairs: list[dict[str, Any]] = []
        alone = StepAlone(config) if options.pairs else None
        for number in range(options.pairs):
            loop = run_loop(config, Path(scratch) / f"run{number}", options.steps)
            pairs.append({"loop": loop, "step_alone": alone.run(options.steps)})
            print(json.dumps(pairs[-1]), flush=True)
            result |= {"summary": summary(pairs), "steps": options.steps, "pairs": pairs}
            _write(options.output, result)
        if options.flat:
            lines = long_run(config, Path(scratch) / "long", options.flat)
            columns = ("seconds_per_step", "processor_seconds_per_step")
            result |= {"flatness": {column: flatness(lines, column) for column in columns}, "long_run": lines}
            _write(options.output, result)
    print(json.dumps({name: result[name] for name in ("summary", "flatness") if name in result}))
    print(f"written to {options.output}")


def summary(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the pairs, and what the loop costs beside its step."""

    def added(column: str) -> list[float]:
        return [pair["loop"][column] / pair["step_alone"][column] - 1 for pair in pairs]

    host = [
        (pair["loop"]["host_seconds_per_step"] - pair["step_alone"]["host_seconds_per_step"])
        / pair["step_alone"]["seconds_per_step"]
        for pair in pairs
    ]
    return {
        "added_by_the_loop": round(statistics.median(added("seconds_per_step")), 4),
        "lowest_and_highest": [round(end(added("seconds_per_step")), 4) for end in (min, max)],
        "added_processor_time": round(statistics.median(added("processor_seconds_per_step")), 4),
        "added_host_time": round(statistics.median(host), 4),
        "waiting_for_data": round(statistics.median(pair["loop"]["waiting_for_data"] for pair in pairs), 5),
    }


def run_loop(config: Any, workdir: Path, steps: int) -> dict[str, float]:
    """How long a step of a run takes behind the first ones, and the part of that spent in `next(data)`."""
    config.num_train_steps, config.log_every = _FIRST + steps, 10
    with _timed_batches() as calls:
        train(config, workdir)
    # A batch is asked for when the step before the last one is done: from call to call is a step.
    began, last = calls[_FIRST - 1], calls[-1]
    waited = sum(call.waited for call in calls[_FIRST - 1 : -1])
    wall = last.began - began.began
    return {
        "seconds_per_step": wall / steps,
        "processor_seconds_per_step": (last.processor - began.processor) / steps,
        "host_seconds_per_step": (last.host - began.host) / steps,
        "waiting_for_data": waited / wall,
    }


class StepAlone:
    """The jitted step of a run, its state, and a few batches on the device."""

    def __init__(self, config: Any):
        """Compiles, and makes the first steps."""
        mesh = make_mesh(config.mesh.to_dict())
        stage = builders.build_stage(config)
        self._program = build_program(config, mesh, stage)
        self._state = make_state(self._program, {}, config.seed)
        frozen = builders.load_frozen(stage)
        self._frozen = place(frozen, shardings(self._program.frozen))
        data = make_data(config, mesh, stage)
        batches = [to_global(next(data), config.batch_size, mesh) for _ in range(_BATCHES)]
        self._batches = itertools.cycle(jax.block_until_ready(batches))
        self.run(_FIRST)

    def run(self, steps: int) -> dict[str, float]:
        """How long a step takes."""
        results = StepResults(most_skipped=0, on_skipped=lambda step: None)
        start, processor, host = time.perf_counter(), time.process_time(), time.thread_time()
        for step in range(1, steps + 1):
            self._state, metrics = self._program.train_step(self._state, self._frozen, next(self._batches))
            results.add(step, metrics[SKIPPED].total)
        results.last_is_good()
        return {
            "seconds_per_step": (time.perf_counter() - start) / steps,
            "processor_seconds_per_step": (time.process_time() - processor) / steps,
            "host_seconds_per_step": (time.thread_time() - host) / steps,
        }


def long_run(config: Any, workdir: Path, steps: int) -> list[dict[str, float]]:
    """How long a step takes of each 100 steps of a run, but the first 100."""
    config.num_train_steps, config.log_every = steps, 100
    config.batch_size = config.model.num_layers = 1
    with _timed_batches() as calls:
        train(config, workdir)
    return [
        {
            "step": last,
            "seconds_per_step": (calls[last - 1].began - calls[last - 101].began) / 100,
            "processor_seconds_per_step": (calls[last - 1].processor - calls[last - 101].processor) / 100,
        }
        for last in range(200, steps + 1, 100)
    ]


def flatness(lines: list[dict[str, float]], column: str) -> dict[str, float]:
    """How many times as long as the first 500 steps the last 500 take (their medians), and the slowest 100."""
    seconds = [line[column] for line in lines]
    first = statistics.median(seconds[:5])
    return {
        "last_to_first": round(statistics.median(seconds[-5:]) / first, 4),
        "slowest_to_first": round(max(seconds) / first, 4),
    }


@dataclasses.dataclass(frozen=True)
class _Call:
    """A call for a batch: when, the processor time of process and thread by then, and how long it took to come."""

    began: float
    processor: float
    host: float
    waited: float


@contextlib.contextmanager
def _timed_batches() -> Iterator[list[_Call]]:
    """Notes every call for a batch of a run."""
    calls: list[_Call] = []
    real = TrainBatches.__next__

    def timed(batches: TrainBatches) -> dict[str, np.ndarray]:
        began, processor, host = time.perf_counter(), time.process_time(), time.thread_time()
        batch = real(batches)
        calls.append(_Call(began, processor, host, time.perf_counter() - began))
        return batch

    TrainBatches.__next__ = timed
    try:
        yield calls
    finally:
        TrainBatches.__next__ = real


def _config(folder: Path) -> Any:
    """The config of the run, with random records in `folder`."""
    config = base.get_config("tiny")
    stage = builders.build_stage(config)
    spec = record_spec(config, stage, noisy_images=1)
    rng = np.random.default_rng(0)
    records = {}
    for number in range(_CLIPS):
        arrays = spec.to_float16({name: rng.standard_normal(shape) for name, shape in spec.array_shapes().items()})
        about = {"clip_id": f"{number}", "prompt": "", "source": "", "fps": 8.0, "source_first_frame": 0}
        records[about["clip_id"]] = arrays | about
    write_dataset(
        folder / "data",
        spec=spec,
        provenance=Provenance({"name": "random"}, {}, {"height": 64, "width": 48}, ""),
        empty_prompt=np.zeros(spec.text_shape, np.float32),
        splits={"train": records},
    )
    config.data.dir = str(folder / "data")
    # Once behind the first step, and at the end.
    config.checkpoint_every = 10 * FLAT
    return config


def _write(output: Path, result: dict[str, Any]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
