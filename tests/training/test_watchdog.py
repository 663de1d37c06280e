"""What hangs is ended with a stack dump and exit code 76; what only takes its time, or was stopped itself, is not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sr_jax.training.loop import train
from sr_jax.training.watchdog import Watchdog

_PROGRAM = """
import sys, threading, time
from sr_jax.training.watchdog import Watchdog

def waits_for_another():
    threading.Event().wait({wait})

with Watchdog(start_seconds={start}, step_seconds={step}) as watchdog:
    for step in range(1, 4):
        watchdog.expect_step(step)
        time.sleep(0.02)
    print("ready", flush=True)
    {last}
    waits_for_another()
print("ended", flush=True)
"""


def _start(wait, *, start=60, step=60, last="pass"):
    program = _PROGRAM.format(wait=wait, start=start, step=step, last=last)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"step": 0.5}, "hung: step 3 takes more than 0.5 seconds"),
        ({"start": 0.5, "last": "watchdog.expect_slow('saving step 3')"}, "hung: saving step 3 takes more than 0.5"),
    ],
)
def test_what_hangs_is_ended(limits, message):
    process = _start(600, **limits)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 76
    assert stdout == "ready\n"
    assert message in stderr.splitlines()[-1]
    assert "in waits_for_another" in stderr


@pytest.mark.parametrize("limits", [{"step": 0, "start": 0.3}, {"step": 0.3, "last": "watchdog.expect_slow('a save')"}])
def test_what_may_take_its_time_is_not_ended(limits):
    process = _start(1.0, **limits)
    assert process.communicate(timeout=60)[0] == "ready\nended\n"
    assert process.returncode == 0


def test_time_in_which_it_was_stopped_does_not_count():
    process = _start(1.0, step=2)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "ended\n"
    assert process.returncode == 0


def test_a_step_has_its_time_again_once_a_save_has_begun(tiny, one_device, tmp_path, monkeypatch):
    expected = []
    monkeypatch.setattr(Watchdog, "expect_slow", lambda self, what: expected.append(what))
    monkeypatch.setattr(Watchdog, "expect_step", lambda self, step: expected.append(step))
    train(tiny("base", num_train_steps=3, checkpoint_every=1), tmp_path / "run", one_device)
    assert expected == [
        "the start", "compiling step 1", 2, "saving step 1", 2, 3, "saving step 2", 3, "saving step 3",
    ]  # fmt: skip
