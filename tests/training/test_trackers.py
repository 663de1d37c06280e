"""Services that show metrics, with stand-ins for their packages; and clips in the logs."""

import io
import json
import sys
from types import ModuleType

import ml_collections
import numpy as np
import pytest
from PIL import Image

from sr_jax.checkpoints.logs import read_metrics, read_videos
from sr_jax.configs import base
from sr_jax.errors import UserError
from sr_jax.media.video import Video, read_video
from sr_jax.training.logs import MetricLog
from sr_jax.training.trackers import SERVICES, open_trackers
from tests.training.test_logs import _events

_VIDEO = Video(np.random.default_rng(0).integers(0, 256, (3, 16, 32, 3), np.uint8), 4.0)


class _Service(ModuleType):
    """What both packages have in common, and keeps what it is told."""

    def __init__(self, name):
        super().__init__(name)
        self.calls, self.broken = [], False

    def init(self, **options):
        self.calls.append(("init", options))
        return self

    def define_metric(self, *names, **options):
        self.calls.append(("define_metric", names, options))

    def log(self, values, **options):
        if self.broken:
            raise ConnectionError("no network")
        self.calls.append(("log", values, options))

    def finish(self):
        self.calls.append(("finish",))

    def Video(self, path, **options):
        return ("video", path, options)


@pytest.fixture(params=SERVICES)
def service(request, monkeypatch):
    module = _Service(request.param)
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def _config(*services) -> ml_collections.ConfigDict:
    config = base.get_config("tiny")
    config.trackers.services = services
    config.trackers.project = "people"
    return config


def _log(workdir, config, first_step=0):
    opened = open_trackers(config, workdir)
    return MetricLog(workdir, first_step=first_step, num_steps=4, enabled=True, trackers=opened)


def test_a_service_gets_what_the_log_gets_and_goes_on_with_the_run(service, tmp_path):
    config, workdir = _config(service.__name__), tmp_path / "run"
    for first_step in (0, 2):
        log = _log(workdir, config, first_step)
        log.write(first_step + 2, {"loss": 0.5})
        log.show(first_step + 2, {"samples/a": _VIDEO})
        log.close()
    inits = [options for name, *rest in service.calls if name == "init" for options in rest]
    assert len(inits) == 2 and inits[0] == inits[1]
    assert inits[0]["project"] == "people" and inits[0]["resume"] == "allow"
    assert inits[0]["config"] == json.loads(config.to_json())
    assert [call[0] for call in service.calls if call[0] in ("init", "finish")] == ["init", "finish"] * 2
    logged = [{**values, **options} for name, *rest in service.calls if name == "log" for values, options in [rest]]
    step = "train_step" if service.__name__ == "wandb" else "step"
    assert [found[step] for found in logged] == [2, 2, 4, 4]
    assert logged[0]["loss"] == 0.5
    assert logged[1]["samples/a"][:2] == ("video", str(workdir / "samples" / "000002" / "a.mp4"))
    # Another run of the same name is another one there.
    _log(tmp_path / "other" / "run", config).close()
    assert inits[0] != service.calls[-2 if service.__name__ == "trackio" else -3][1]


def test_a_service_that_is_away_ends_no_run(service, tmp_path, capsys):
    log = _log(tmp_path, _config(service.__name__))
    service.broken = True
    log.write(1, {"loss": 1.0})
    log.show(1, {"samples/a": _VIDEO})
    log.close()
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
    assert f"{service.__name__}: ConnectionError: no network" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", SERVICES)
def test_a_package_that_is_missing_or_cannot_start_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        UserError, match=rf'services names {name}, which is not installed: pip install "sr_jax\[{name}\]"'
    ):
        open_trackers(_config(name), tmp_path)
    # A folder of its name is no package.
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    with pytest.raises(UserError, match="which is not installed"):
        open_trackers(_config(name), tmp_path)
    broken = _Service(name)
    broken.init = lambda **_: 1 / 0
    monkeypatch.setitem(sys.modules, name, broken)
    with pytest.raises(
        UserError, match=rf"^{name} cannot be started \(ZeroDivisionError: .*take it from config\.track"
    ):
        _log(tmp_path, _config(name))


def test_clips_are_files_lines_and_moving_pictures_of_tensorboard(tmp_path):
    log = _log(tmp_path, _config())
    log.show(7, {"samples/a": _VIDEO, "samples/b": _VIDEO})
    log.show(9, {})
    log.close()
    found = read_videos(tmp_path)
    assert found.keys() == {7} and found[7].keys() == {"samples/a", "samples/b"}
    frames, fps = read_video(found[7]["samples/b"])
    assert frames.shape == _VIDEO.frames.shape and fps == 4.0
    [board] = (tmp_path / "tensorboard").iterdir()
    values = [value for event in _events(board) for value in event.summary.value]
    assert [value.tag for value in values] == ["samples/a", "samples/b"]
    gif = Image.open(io.BytesIO(values[0].image.encoded_image_string))
    assert (gif.format, gif.n_frames, gif.size, gif.info["duration"]) == ("GIF", 3, (32, 16), 250)
    # A clip whose file is gone is no clip.
    found[7]["samples/a"].unlink()
    assert read_videos(tmp_path)[7].keys() == {"samples/b"}
