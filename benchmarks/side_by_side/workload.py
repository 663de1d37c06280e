"""What a contestant does, step by step, and the memory of a process."""

import re
from pathlib import Path
from typing import Any


class Workload:
    """One part's work by one contestant; every step is over when it returns."""

    def prepare(self) -> dict[str, Any]:
        """Compiles what can be compiled before there are arrays; returns what is known then."""
        return self._prepare()

    def create(self) -> None:
        """Makes weights and inputs, where the work is to be done."""
        self._create()

    def run(self) -> dict[str, Any] | None:
        """Does the work once."""
        return self._run()

    def about(self) -> dict[str, Any]:
        """Device, framework, memory, and what else is known after the last run."""
        return self._about()

    def _prepare(self) -> dict[str, Any]:
        return {}

    def _create(self) -> None:
        pass

    def _run(self) -> dict[str, Any] | None:
        raise NotImplementedError

    def _about(self) -> dict[str, Any]:
        raise NotImplementedError


def peak_bytes_of_process() -> int:
    """The most host memory that this process had."""
    # getrusage would start from what the parent had at the fork.
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))
