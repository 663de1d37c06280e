"""How fast a run trains: clips, tokens and model FLOPs a second, and what part of the devices' peak that is."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence

import jax

from sr_jax.parallel.chips import find_chip
from sr_jax.training.stages import Stage, Work
from sr_jax.training.state import Batch


class Speedometer:
    """Adds up the work of steps between two readings.

    Args:
        stage: Of the run.
        devices: That it runs on. When no peak of their chip is published, there is no MFU, which is said once.
    """

    def __init__(self, stage: Stage, devices: Sequence[jax.Device]):
        self._stage = stage
        self._num_devices = len(devices)
        self._chip = find_chip(devices[0].device_kind)
        if self._chip is None and jax.process_index() == 0:
            kind = devices[0].device_kind
            logging.info("no MFU in the log: no published peak of a device of the kind %r is known here", kind)
        self._works: dict[tuple[int, ...], Work] = {}
        self._steps = self._clips = self._tokens = self._flops = 0
        self._start: float | None = None

    def add(self, batch: Batch) -> None:
        """Counts a step on this global batch."""
        clips, *size, _ = batch["latent_mean"].shape
        text_length = batch["text_embedding"].shape[1] if "text_embedding" in batch else 0
        key = (*size, text_length)
        if key not in self._works:
            self._works[key] = self._stage.work(tuple(size), text_length)
        self._steps += 1
        self._clips += clips
        self._tokens += clips * self._works[key].tokens
        self._flops += clips * self._works[key].flops

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """In this context nothing is trained; its time does not count."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._start is not None:
                self._start += time.monotonic() - began

    def read(self) -> dict[str, float]:
        """The speed since the last reading, once the steps are done; the first has none, because it compiled.

        Returns:
            Steps, clips and tokens a second; `model_tflops_per_second` of one device; and `mfu`, between 0 and 1.
        """
        now = time.monotonic()
        values = {} if self._start is None else self._values(now - self._start)
        self._start = now
        self._steps = self._clips = self._tokens = self._flops = 0
        return values

    def _values(self, seconds: float) -> dict[str, float]:
        flops = self._flops / seconds / self._num_devices
        values = {
            "steps_per_second": self._steps / seconds,
            "clips_per_second": self._clips / seconds,
            "tokens_per_second": self._tokens / seconds,
            "model_tflops_per_second": flops / 1e12,
        }
        return values if self._chip is None else values | {"mfu": flops / self._chip.flops}
