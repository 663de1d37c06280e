"""Imports and exports that are killed."""

import signal
import subprocess
import sys

from tests.conversion.folders import contents
from tests.conversion.test_convert import run

# Runs the command, and kills itself at an event of Python's (or a step of the progress bar) with a word among its
# arguments, when it is there for the n-th time.
_KILLED = """
import os, signal, sys, tqdm
from sr_jax import command_line, convert

event, word, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

def watch(name, args):
    global left
    if name == event and word in str(args):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

tqdm.tqdm.update = lambda bar, n: sys.audit("step", bar.desc)
sys.addaudithook(watch)
main, flag_values, sys.argv = convert.choose(sys.argv[3:])
command_line.run(main, flag_values, convert.__doc__)
"""


def run_killed(moment, *argv):
    done = subprocess.run([sys.executable, "-c", _KILLED, *map(str, (*moment, *argv))], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_again_and_again(tmp_path, pipeline):
    command = ("import", "--source", pipeline, "--output", tmp_path / "ours")
    # In the second part, while other files are copied, and before the very last step.
    for moment in (("step", "vae", 5), ("open", ".ours.partial/source/vae/config.json", 1), ("os.rename", "/ours'", 1)):
        run_killed(moment, *command)
        assert [path.name for path in tmp_path.iterdir()] == [".ours.partial"]
    run(*command)
    command = ("export", "--checkpoint", tmp_path / "ours", "--output", tmp_path / "back")
    for moment in (("step", "transformer", 20), ("os.rename", "/back'", 1)):
        run_killed(moment, *command)
        assert {path.name for path in tmp_path.iterdir()} == {"ours", ".back.partial"}
    run(*command)
    assert {path.name for path in tmp_path.iterdir()} == {"ours", "back"}
    assert contents(tmp_path / "back") == contents(pipeline)
