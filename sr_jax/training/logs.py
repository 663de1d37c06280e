"""Where metrics go: the console with a progress bar, a JSONL file, and trackers, of which TensorBoard is always one.

No file that cannot be written (a full disk, a bucket that is away) ends a run: what it lacks is written once it can be.
Nor does a console that is such a file.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tqdm

from sr_jax.checkpoints.logs import METRICS_FILE, SKIPPED_FILE, VIDEOS_FILE, read_lines
from sr_jax.media.video import Video, write_video
from sr_jax.outputs import write_text, writing_to
from sr_jax.training.trackers import OpenTracker, TensorBoard, Tracker


class MetricLog:
    """Writes one line of metrics at a time to `<workdir>/metrics.jsonl`, the trackers and the console.

    And to `<workdir>/skipped_steps.jsonl` the steps that were skipped, to `videos.jsonl` where sample clips are. Only
    the first process writes; on the others every method does nothing.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        first_step: int,
        num_steps: int,
        enabled: bool,
        trackers: Sequence[OpenTracker] = (),
    ):
        """Opens the log; lines of steps after `first_step`, left by a killed run, are dropped.

        Raises:
            UserError: When the workdir cannot be written to, or a tracker cannot be opened.
        """
        self._enabled, self._workdir = enabled, workdir
        self._start = time.monotonic()
        self._bar = tqdm.tqdm(
            total=num_steps, initial=first_step, unit="step", desc=workdir.name, disable=not enabled, mininterval=1.0
        )
        if not enabled:
            return
        with writing_to(workdir):
            workdir.mkdir(parents=True, exist_ok=True)
            self._metrics = _Lines(workdir / METRICS_FILE, first_step)
            self._skipped = _Lines(workdir / SKIPPED_FILE, first_step)
            self._videos = _Lines(workdir / VIDEOS_FILE, first_step)
            self._trackers: list[Tracker] = [TensorBoard(workdir / "tensorboard", first_step)]
        self._trackers += [opened() for opened in trackers]
        self._elapsed_before = self._metrics.newest.get("wall_time", 0.0)

    def advance(self) -> None:
        """Moves the progress bar one step."""
        with contextlib.suppress(OSError):
            self._bar.update()

    def write(self, step: int, values: dict[str, float | int]) -> None:
        """Writes the metrics of the steps since the last call.

        Args:
            step: Number of the last step.
            values: By flat name.
        """
        if not self._enabled:
            return
        wall_time = self._elapsed_before + time.monotonic() - self._start
        with self._telling_of_failures(step):
            self._metrics.add({"step": step, "wall_time": round(wall_time, 2)} | values)
        for tracker in self._trackers:
            with self._telling_of_failures(step):
                tracker.add(step, values)
        # Losses of one range of times are in the files alone.
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name.count("/") < 2)
        self._say(f"step {step}  {shown}")

    def show(self, step: int, videos: Mapping[str, Video]) -> None:
        """Writes clips of a step to `<workdir>/<first part of the name>/<step>/<the rest>.mp4`, and shows them.

        Args:
            step: Number of the step.
            videos: By flat name.
        """
        if not self._enabled or not videos:
            return
        paths = {}
        for name, video in videos.items():
            folder, _, clip = name.partition("/")
            path = self._workdir / folder / f"{step:06d}" / f"{clip}.mp4"
            with self._telling_of_failures(step):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, video.frames, video.fps)
                paths[name] = path.relative_to(self._workdir).as_posix()
                for tracker in self._trackers:
                    tracker.show(step, name, video, path)
        with self._telling_of_failures(step):
            self._videos.add({"step": step, "videos": paths})
        self._say(f"step {step}  {len(paths)} clips in {path.parent}")

    def skip(self, step: int, clips: Sequence[str]) -> None:
        """Writes down a step that was skipped, and the clips of its batch."""
        if not self._enabled:
            return
        with self._telling_of_failures(step):
            self._skipped.add({"step": step, "clips": list(clips)})
        self._say(f"step {step} is skipped: its loss or gradient is not finite; its clips: {', '.join(clips)}")

    def close(self) -> None:
        """Closes everything, and writes what could not be written before if that can be now."""
        with contextlib.suppress(OSError):
            self._bar.close()
        if self._enabled:
            for lines in (self._metrics, self._skipped, self._videos):
                with contextlib.suppress(OSError):
                    lines.write_waiting()
            for tracker in self._trackers:
                tracker.close()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._bar.write(line)

    @contextlib.contextmanager
    def _telling_of_failures(self, step: int) -> Any:
        try:
            yield
        except OSError as error:
            self._say(f"step {step}  a log cannot be written ({error}): what it lacks is kept until it can")


class _Lines:
    """A file of one JSON object a line, each with its `step`.

    Args:
        path: The file; made with its first line.
        first_step: Lines of later steps are dropped; all of them when it is 0.

    Attributes:
        newest: The last of the lines that were kept; `{}` when there is none.
    """

    def __init__(self, path: Path, first_step: int):
        self._path, self._waiting = path, b""
        there = read_lines(path)
        # Before its first step a run is measured, too: one that starts anew is so again.
        kept = [line for line in there if line["step"] <= first_step] if first_step else []
        self.newest: dict[str, Any] = kept[-1] if kept else {}
        if path.exists():
            write_text(path, "".join(map(_text, kept)))

    def add(self, line: dict[str, Any]) -> None:
        """Appends a line, and those that could not be before; raises `OSError`, and keeps them, when it cannot."""
        self._waiting += _text(line).encode()
        self.write_waiting()

    def write_waiting(self) -> None:
        """Writes what could not be written before; raises `OSError`, and keeps it, when it cannot."""
        if not self._waiting:
            return
        with self._path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(self._waiting) < len(self._waiting):
                    raise OSError("no space left for the whole line")
                # A mounted bucket keeps what is written to itself until it is told to store it.
                os.fsync(file.fileno())
            except OSError:
                # No half of a line stays.
                file.truncate(end)
                raise
        self._waiting = b""


def _text(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"
