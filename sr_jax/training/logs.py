"""Where metrics go: the console with a progress bar, a JSONL file, TensorBoard."""

import json
import os
import time
from pathlib import Path

import tensorboardX
import tqdm

from sr_jax.checkpoints.logs import METRICS_FILE, read_metrics
from sr_jax.outputs import replacing


class MetricLog:
    """Writes one line of metrics at a time to `<workdir>/metrics.jsonl`, TensorBoard and the console.

    Only the first process writes; on the others every method does nothing.
    """

    def __init__(self, workdir: Path, *, first_step: int, num_steps: int, enabled: bool):
        """Opens the log; lines of steps after `first_step`, left by a killed run, are dropped."""
        self._enabled = enabled
        self._start = time.monotonic()
        self._bar = tqdm.tqdm(
            total=num_steps, initial=first_step, unit="step", desc=workdir.name, disable=not enabled, mininterval=1.0
        )
        if not enabled:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / METRICS_FILE
        kept = [line for line in read_metrics(workdir) if line["step"] <= first_step]
        self._elapsed_before = kept[-1]["wall_time"] if kept else 0.0
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        # TensorBoard hides the purged step too.
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)

    def advance(self) -> None:
        """Moves the progress bar one step."""
        self._bar.update()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes the metrics of the steps since the last call.

        Args:
            step: Number of updates made so far.
            values: By flat name.
        """
        if not self._enabled:
            return
        wall_time = self._elapsed_before + time.monotonic() - self._start
        self._file.write(json.dumps({"step": step, "wall_time": round(wall_time, 2)} | values) + "\n")
        # A mounted bucket keeps what is written to itself until it is told to store it.
        os.fsync(self._file.fileno())
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if "/t" not in name)
        self._bar.write(f"step {step}  {shown}")

    def close(self) -> None:
        """Flushes and closes everything."""
        self._bar.close()
        if self._enabled:
            self._file.close()
            self._board.close()
