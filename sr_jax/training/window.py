"""What the training loop knows of the steps since its last log line."""

import math

import jax

from sr_jax.training.speed import Speedometer
from sr_jax.training.state import Batch, Metrics, merge_metrics


class MetricWindow:
    """The metrics since the last log line: merged on the device, read when the line or a checkpoint is written."""

    def __init__(self, speedometer: Speedometer):
        """Opens an empty window."""
        self._speedometer = speedometer
        self._metrics: Metrics | None = None
        self._merge = jax.jit(merge_metrics)

    def add(self, metrics: Metrics, batch: Batch) -> None:
        """Adds what a step gave, and counts its batch; waits for nothing."""
        self._speedometer.add(batch)
        self._metrics = metrics if self._metrics is None else self._merge(self._metrics, metrics)

    def close(self, step: int) -> dict[str, float]:
        """The averages over at least one sample, and the speed since the last line.

        Raises:
            FloatingPointError: As `check`.
        """
        values = self.check(step)
        self._metrics = None
        return values | self._speedometer.read()

    def check(self, step: int) -> dict[str, float]:
        """The averages so far.

        Raises:
            FloatingPointError: When the loss or its gradient is not finite.
        """
        averages = jax.device_get(self._metrics)
        values = {name: float(average.compute()) for name, average in averages.items() if average.count}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                raise FloatingPointError(f"{name} is {values[name]} in the steps before {step}")
        return values
