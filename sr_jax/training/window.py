"""What the training loop knows of the steps since its last log line."""

import contextlib

import jax

from sr_jax.training.speed import Speedometer
from sr_jax.training.state import SKIPPED, Batch, Metrics, merge_metrics


class MetricWindow:
    """The metrics since the last log line: merged on the device, read when the line is written."""

    def __init__(self, speedometer: Speedometer):
        """Opens an empty window."""
        self._speedometer = speedometer
        self._metrics: Metrics | None = None
        self._merge = jax.jit(merge_metrics)

    def add(self, metrics: Metrics, batch: Batch) -> None:
        """Adds what a step gave, and counts its batch; waits for nothing."""
        self._speedometer.add(batch)
        self._metrics = metrics if self._metrics is None else self._merge(self._metrics, metrics)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """A context whose time counts in no speed; the devices must be done with all steps."""
        return self._speedometer.paused()

    def close(self) -> dict[str, float | int]:
        """The averages over at least one sample, and the speed, since the last line.

        Steps that were skipped count in no average; where there were any, `skipped_steps` says how many.
        """
        averages = jax.device_get(self._metrics)
        self._metrics = None
        skipped = int(averages.pop(SKIPPED).total)
        values: dict[str, float | int] = {
            name: float(average.compute()) for name, average in averages.items() if average.count
        }
        if skipped:
            values["skipped_steps"] = skipped
        return values | self._speedometer.read()
