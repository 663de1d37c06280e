"""The metric log after a kill."""

import errno
import io
import os
import struct
from unittest import mock

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from sr_jax.checkpoints.logs import METRICS_FILE, read_metrics
from sr_jax.training.logs import MetricLog


def _log(workdir, first_step):
    return MetricLog(workdir, first_step=first_step, num_steps=10, enabled=True)


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    log = _log(tmp_path, 0)
    for step in (2, 4, 6):
        log.write(step, {"loss": float(step)})
    log.close()
    # The kill cut the last line short; the newest checkpoint is of step 4.
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 8, "lo')
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4, 6]
    log = _log(tmp_path, 4)
    log.write(6, {"loss": 60.0})
    log.close()
    lines = read_metrics(tmp_path)
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 2.0), (4, 4.0), (6, 60.0)]
    assert lines[2]["wall_time"] >= lines[1]["wall_time"]


def test_a_board_keeps_the_line_of_the_step_that_a_run_goes_on_from(tmp_path):
    for first_step, steps in ((0, (2, 4, 6)), (4, (6,))):
        log = _log(tmp_path, first_step)
        for step in steps:
            log.write(step, {"loss": 1.0})
        log.close()
    events = [event for path in sorted((tmp_path / "tensorboard").iterdir()) for event in _events(path)]
    starts = [event.step for event in events if event.HasField("session_log")]
    # TensorBoard hides what has this step or a later one and was written before.
    assert starts[-1] == 5


def test_a_kill_while_a_run_opens_its_log_loses_no_line(tmp_path, monkeypatch):
    log = _log(tmp_path, 0)
    log.write(2, {"loss": 1.0})
    log.close()
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(os, "replace", mock.Mock(side_effect=KeyboardInterrupt))
        _log(tmp_path, 2)
    assert [line["step"] for line in read_metrics(tmp_path)] == [2]


def _events(path):
    # TFRecords: length, its checksum, data, its checksum.
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[12 + length + 4 :]


def test_other_processes_write_nothing(tmp_path):
    log = MetricLog(tmp_path / "run", first_step=0, num_steps=1, enabled=False)
    log.advance()
    log.write(1, {"loss": 1.0})
    log.close()
    assert not (tmp_path / "run").exists()
    assert read_metrics(tmp_path / "run") == []


def test_a_console_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch):
    class Disk(io.StringIO):
        full = False

        def write(self, text):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    console = Disk()
    monkeypatch.setattr("sys.stdout", console)
    monkeypatch.setattr("sys.stderr", console)
    log = _log(tmp_path, 0)
    console.full = True
    log.write(1, {"loss": 1.0})
    log.skip(2, ["a"])
    log.advance()
    console.full = False
    log.write(2, {"loss": 2.0, "loss/trd": 3.0, "loss/trd/t000-200": 4.0})
    console.full = True
    log.close()
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    assert "step 2  loss 2  loss/trd 3\n" in console.getvalue()
    assert "step 1" not in console.getvalue()


def test_lines_that_could_not_be_written_are_written_when_the_log_is_closed(tmp_path, monkeypatch):
    log = _log(tmp_path, 0)
    log.write(1, {"loss": 1.0})
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", mock.Mock(side_effect=OSError))
        full.setattr(EventsWriter, "flush", mock.Mock(side_effect=OSError))
        log.write(2, {"loss": 2.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
    log.close()
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    events = [event for path in sorted((tmp_path / "tensorboard").iterdir()) for event in _events(path)]
    assert [event.step for event in events if event.HasField("summary")][-1] == 2
