"""Where metrics can be watched while a run goes on: TensorBoard, and services that have packages of their own.

A service is one class with an entry in `SERVICES`. It is an optional extra (`pip install "sr_jax[wandb]"`), and is
given to the log by the name that `config.trackers.services` has for it.
"""

import contextlib
import functools
import importlib
import io
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ml_collections
from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from sr_jax.errors import UserError
from sr_jax.media.video import Video
from sr_jax.outputs import write_text

_IDS_FILE = "trackers.json"


@runtime_checkable
class Tracker(Protocol):
    """Something that shows metrics; only the first process has one."""

    def add(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds the values of a step, by flat name.

        Raises:
            OSError: When they cannot be added now.
        """
        ...

    def show(self, step: int, name: str, video: Video, path: Path) -> None:
        """Adds a clip of a step, which is the mp4 file at `path`, too; errors as of `add`."""
        ...

    def close(self) -> None:
        """Adds what waits, if that can be, and closes."""
        ...


OpenTracker = Callable[[], Tracker]
"""Opens a tracker; raises `UserError` when it cannot be."""


class TensorBoard:
    """Event files of TensorBoard, one for each time that writing begins.

    Args:
        folder: Where they go.
        first_step: TensorBoard hides what was written of later steps before.
    """

    def __init__(self, folder: Path, first_step: int):
        self._folder = folder
        self._waiting: list[event_pb2.Event] = []
        self._writer: EventsWriter | None = None
        started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(step=first_step + 1 if first_step else 0, session_log=started))

    def add(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds values, and those that could not be added before; raises `OSError`, and keeps them, when it cannot."""
        named = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=named)))

    def show(self, step: int, name: str, video: Video, path: Path) -> None:
        """Adds a clip as an animated GIF, which browsers play among the images; errors as of `add`."""
        height, width = video.frames.shape[1:3]
        image = summary_pb2.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=_gif(video))
        value = summary_pb2.Summary.Value(tag=name, image=image)
        self._write(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[value])))

    def close(self) -> None:
        """Writes what waits, if it can, and closes the file."""
        with contextlib.suppress(OSError):
            if self._waiting:
                self._write_waiting()
        if self._writer is not None:
            self._writer.close()

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        self._waiting.append(event)
        self._write_waiting()

    def _write_waiting(self) -> None:
        # After a failure a file may end in half an event, behind which nothing is read.
        writer, self._writer = self._writer or self._open(), None
        for waiting in self._waiting:
            writer.write_event(waiting)
        writer.flush()
        self._writer, self._waiting = writer, []

    def _open(self) -> EventsWriter:
        self._folder.mkdir(exist_ok=True)
        # The name has the second in it; of two in the same one the number differs.
        return EventsWriter(str(self._folder / "events"), filename_suffix=f".{len(list(self._folder.iterdir()))}")


class Wandb:
    """A run of Weights & Biases (https://docs.wandb.ai), which goes on when training does.

    Steps are a metric of their own: the service's own step takes no step back, as a run does that was killed.

    Args:
        module: The package.
        workdir: Of the run; the service's run has its name.
        project: The service's project.
        config: What the run is told of itself.
    """

    def __init__(self, module: Any, workdir: Path, project: str, config: Mapping[str, Any]):
        known = {"project": project, "name": workdir.name, "config": dict(config), "dir": str(workdir.absolute())}
        # What may differ from the config that it was started with is decided elsewhere.
        known |= {"id": _run_id(workdir, "wandb"), "resume": "allow", "allow_val_change": True}
        self._module, self._run = module, module.init(**known)
        self._run.define_metric("*", step_metric=_STEP)

    def add(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds values; sends them later."""
        self._run.log({**values, _STEP: step})

    def show(self, step: int, name: str, video: Video, path: Path) -> None:
        """Adds the file."""
        self._run.log({name: self._module.Video(str(path), format="mp4"), _STEP: step})

    def close(self) -> None:
        """Waits until all is sent."""
        self._run.finish()


class Trackio:
    """A run of Trackio (https://huggingface.co/docs/trackio), on this machine or, by its own settings, in a Space.

    Args:
        module: The package.
        workdir: Of the run; the service's run has its name and a part that is its own.
        project: The service's project.
        config: What the run is told of itself.
    """

    def __init__(self, module: Any, workdir: Path, project: str, config: Mapping[str, Any]):
        name = f"{workdir.name}-{_run_id(workdir, 'trackio')}"
        self._module = module
        self._run = module.init(project=project, name=name, config=dict(config), resume="allow")

    def add(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds values; sends them later."""
        self._run.log(dict(values), step=step)

    def show(self, step: int, name: str, video: Video, path: Path) -> None:
        """Adds the file."""
        self._run.log({name: self._module.Video(str(path))}, step=step)

    def close(self) -> None:
        """Waits until all is sent."""
        self._run.finish()


SERVICES: Mapping[str, Callable[..., Tracker]] = {"wandb": Wandb, "trackio": Trackio}
"""Services by the names of their packages, which are those of the extras."""
_STEP = "train_step"


def open_trackers(config: ml_collections.ConfigDict, workdir: Path) -> list[OpenTracker]:
    """What opens the services that a config's `trackers` section names; their packages are there.

    Raises:
        UserError: For a package that is missing.
    """
    opened = []
    for name in config.trackers.services:
        try:
            module = importlib.import_module(name)
        except ImportError:
            module = None
        # Without it, a folder of that name, which a run may have left, is a package of nothing.
        if not hasattr(module, "init"):
            raise UserError(
                f'config.trackers.services names {name}, which is not installed: pip install "sr_jax[{name}]"'
            )
        opened.append(functools.partial(_open, name, module, workdir, config))
    return opened


def _open(name: str, module: Any, workdir: Path, config: ml_collections.ConfigDict) -> Tracker:
    try:
        return _Safe(name, SERVICES[name](module, workdir, config.trackers.project, json.loads(config.to_json())))
    # Each package has errors of its own, for a key that is missing, a server that is away.
    except Exception as error:
        raise UserError(
            f"{name} cannot be started ({_short(error)}): see to that, or take it from config.trackers.services"
        ) from error


class _Safe:
    """A service whose errors end no run."""

    def __init__(self, name: str, tracker: Tracker):
        self._name, self._tracker = name, tracker

    def add(self, step: int, values: Mapping[str, float | int]) -> None:
        with self._failing_softly():
            self._tracker.add(step, values)

    def show(self, step: int, name: str, video: Video, path: Path) -> None:
        with self._failing_softly():
            self._tracker.show(step, name, video, path)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._tracker.close()

    @contextlib.contextmanager
    def _failing_softly(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise OSError(f"{self._name}: {_short(error)}") from error


def _gif(video: Video) -> bytes:
    first, *others = map(Image.fromarray, video.frames)
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, duration=1000 / video.fps, loop=0)
    return content.getvalue()


def _run_id(workdir: Path, service: str) -> str:
    """What a service knows a run by, drawn once and kept in its workdir, wherever that is moved."""
    path = workdir / _IDS_FILE
    ids = json.loads(path.read_text()) if path.exists() else {}
    if service not in ids:
        ids[service] = uuid.uuid4().hex[:8]
        write_text(path, json.dumps(ids) + "\n")
    return ids[service]


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
