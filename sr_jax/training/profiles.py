"""Profiles of a few steps, for TensorBoard or Perfetto."""

from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"


class StepProfile:
    """Traces the steps that a config asks for into `<workdir>/profile`.

    Every process traces its own devices.
    """

    def __init__(self, workdir: Path, *, first_step: int, num_steps: int):
        """Nothing is traced when `num_steps` is 0; choose a `first_step` behind the compilation in step 1."""
        self._folder = str(workdir / FOLDER)
        self._first, self._last = first_step, first_step + num_steps - 1
        self._tracing = False

    def before(self, step: int) -> None:
        """Call it before each step: starts the trace, also when a resumed run begins among the steps asked for."""
        if self._first <= step <= self._last and not self._tracing:
            jax.profiler.start_trace(self._folder)
            self._tracing = True

    def after(self, step: int, results: Any) -> None:
        """Call it after each step with what the step returned: waits for the last one, and ends the trace."""
        if self._tracing and step >= self._last:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Ends the trace, if there is one."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
