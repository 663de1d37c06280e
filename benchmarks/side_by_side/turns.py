"""The processes of the contestants, and who works when."""

import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.stage_two_step import error_line

Save = Callable[[], None]
CACHE = "JAX_COMPILATION_CACHE_DIR"
"""The variable of the environment that names the folder of compiled programs."""
_START = ("prepare", "create", "run")


class ContestantError(Exception):
    """A contestant failed, or took too long; says why in one line."""


class Contestant:
    """A process of `worker`; it starts to import at once, and to work when it is told to."""

    def __init__(self, part: str, name: str, settings: str, environment: dict[str, str]):
        self._start = time.perf_counter()
        # Open as long as the process.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side_by_side.worker", part, name, settings],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._imported = False

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, action: str, deadline: float) -> dict[str, Any]:
        """Has it do something, and waits.

        Args:
            action: Method of its workload.
            deadline: `time.monotonic()` until which to wait.

        Raises:
            ContestantError: When it failed, or was not done in time; the process is gone then.
        """
        if not self._imported:
            self._answer(deadline)
            self._imported = True
        try:
            print(action, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._failure() from None
        return self._answer(deadline)

    def _answer(self, deadline: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            self.close()
            raise ContestantError("stopped, the time was over") from None
        if not line:
            raise self._failure()
        return json.loads(line)

    def _failure(self) -> ContestantError:
        code = self._process.wait()
        self._log.seek(0)
        return ContestantError(error_line(self._log.read()) or f"exit code {code}")

    def close(self) -> None:
        """Ends the process, and with it what it holds on the device."""
        self._process.kill()
        self._process.wait()


class Turns:
    """One part: its contestants, in turn.

    Attributes:
        results: For each contestant its turns: what it said, and the seconds of each run.
    """

    def __init__(
        self,
        part: str,
        names: tuple[str, ...],
        settings: str,
        *,
        environments: dict[str, dict[str, str]],
        deadline: float,
        save: Save,
    ):
        self._part, self._names, self._settings = part, names, settings
        self._environments, self._deadline, self._save = environments, deadline, save
        self.results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}

    def _start(self, name: str, **environment: str) -> Contestant:
        return Contestant(self._part, name, self._settings, self._environments[name] | environment)

    def prepare(self) -> None:
        """Compiles for all contestants at once, and measures nothing: what they leave is the compilation cache."""
        started = {name: self._start(name) for name in self._names}
        for name, contestant in started.items():
            self._set_up(name, contestant, ("prepare",))
            contestant.close()

    def together(self, runs: int) -> None:
        """All stay in memory, and take turns run by run."""
        started = {name: self._start(name) for name in self._names}
        for name in self._names:
            if not self._set_up(name, started[name], _START):
                started.pop(name).close()
        for _ in range(runs):
            for name in list(started):
                if not self._run(name, started[name]):
                    started.pop(name).close()
        for name, contestant in started.items():
            self._finish(name, contestant)

    def apart(self, runs: int, turns: int) -> None:
        """One at a time, for some runs in a process of its own, and then the next; the next one imports meanwhile."""
        order = [name for _ in range(turns) for name in self._names]
        following = self._start(order[0])
        for place, name in enumerate(order):
            contestant = following
            if place + 1 < len(order):
                following = self._start(order[place + 1])
            if self._set_up(name, contestant, _START) and all(self._run(name, contestant) for _ in range(runs)):
                self._finish(name, contestant)
            contestant.close()

    def afresh(self, runs: int, cached: str) -> None:
        """Each run is a process of its own, timed from its start until its work is done for the first time.

        Args:
            runs: Of each contestant.
            cached: The contestant that finds what it compiled before; a first process of it, not counted, does that.
                The others compile anew each time.
        """
        if cached in self._names:
            contestant = self._start(cached)
            if not self._set_up(cached, contestant, _START):
                return
            contestant.close()
            self.results[cached].pop()
        for _ in range(runs):
            for name in self._names:
                with tempfile.TemporaryDirectory() as empty:
                    begun = time.perf_counter()
                    contestant = self._start(name, **({} if name == cached else {CACHE: empty}))
                    if self._set_up(name, contestant, _START):
                        self.results[name][-1]["seconds"].append(time.perf_counter() - begun)
                        self._finish(name, contestant)
                    contestant.close()

    def _set_up(self, name: str, contestant: Contestant, actions: tuple[str, ...]) -> bool:
        turn: dict[str, Any] = {"seconds": []}
        self.results[name].append(turn)
        before = time.perf_counter()
        for action in actions:
            if (answer := self._ask(turn, contestant, action)) is None:
                return False
            # The first run compiles what was not compiled before, and fills caches.
            turn[f"{'first_run' if action == 'run' else action}_seconds"] = answer["seconds"]
            turn |= answer["returned"] or {}
            turn["seconds_until_first_run"] = time.perf_counter() - before
            self._save()
        return True

    def _run(self, name: str, contestant: Contestant) -> bool:
        turn = self.results[name][-1]
        if (answer := self._ask(turn, contestant, "run")) is None:
            return False
        turn["seconds"].append(answer["seconds"])
        self._save()
        return True

    def _finish(self, name: str, contestant: Contestant) -> None:
        turn = self.results[name][-1]
        if answer := self._ask(turn, contestant, "about"):
            turn |= answer["returned"]
        contestant.close()
        self._save()

    def _ask(self, turn: dict[str, Any], contestant: Contestant, action: str) -> dict[str, Any] | None:
        try:
            return contestant.ask(action, self._deadline)
        except ContestantError as error:
            turn["error"] = f"{action}: {error}"
            self._save()
            return None


def median(turns: list[dict[str, Any]]) -> float | None:
    """Of all runs that were timed; None without any."""
    seconds = [second for turn in turns for second in turn["seconds"]]
    return statistics.median(seconds) if seconds else None
