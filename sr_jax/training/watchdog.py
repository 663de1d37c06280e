"""Notices that a process no longer moves, and ends it, so that whoever started it can start it again."""

import faulthandler
import os
import sys
import threading
import time
from types import TracebackType

from sr_jax.errors import HUNG

_SECONDS_BETWEEN_LOOKS = 1.0


class Watchdog:
    """Ends this process with exit code 76 when what it does takes longer than expected; a context.

    One of several processes that hangs, or is gone, keeps the others waiting in a collective for ever. Before it ends,
    it writes to stderr what every thread was doing. Time in which this process itself was stopped does not count.

    Args:
        start_seconds: For reading and compiling, and whatever else happens rarely; 0: any time.
        step_seconds: For a training step; 0: any time.
    """

    def __init__(self, *, start_seconds: float, step_seconds: float):
        self._start_seconds, self._step_seconds = start_seconds, step_seconds
        self._expected: tuple[str, float, float] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self.expect_slow("the start")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def expect_slow(self, what: str) -> None:
        """What begins now may take `start_seconds`."""
        self._expect(what, self._start_seconds)

    def expect_step(self, step: int) -> None:
        """A training step begins now, and may take `step_seconds`."""
        self._expect(f"step {step}", self._step_seconds)

    def _expect(self, what: str, seconds: float) -> None:
        self._expected = (what, seconds, time.monotonic()) if seconds else None

    def _watch(self) -> None:
        pause = min([_SECONDS_BETWEEN_LOOKS, *(x / 4 for x in (self._start_seconds, self._step_seconds) if x)])
        stopped, before = 0.0, time.monotonic()
        counted = None
        while not self._closed.wait(pause):
            now, expected = time.monotonic(), self._expected
            if expected is not counted:
                counted, stopped = expected, 0.0
            # A thread that only waits wakes in time, unless the whole process was stopped.
            stopped += max(0.0, now - before - 2 * pause)
            before = now
            if expected and now - expected[2] - stopped > expected[1]:
                _end(expected[0], expected[1])


def _end(what: str, seconds: float) -> None:
    faulthandler.dump_traceback(all_threads=True)
    print(f"hung: {what} takes more than {seconds:g} seconds; above is where every thread was", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    # Not sys.exit: what hangs would be waited for.
    os._exit(HUNG)
