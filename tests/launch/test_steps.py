"""launch/steps.sh: steps that are run once, and steps that run at the same time."""

import json
import os
import signal
import time

import pytest

_BEGIN = """\
#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/steps.sh
start_steps out
"""


def _script(sandbox, lines):
    (sandbox.folder / "launch/steps_test.sh").write_text(_BEGIN + lines)
    return "steps_test.sh"


def test_a_finished_step_is_not_run_again(sandbox):
    script = _script(sandbox, 'step "First" fit --a=1 --b "(\'x\',)"\nstep "Second" train\n')
    sandbox.answers("python", "0", "1")
    assert sandbox.run(script).returncode == 1
    done = sandbox.run(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert "First" not in done.stdout and "== Second\n$ python -m sr_jax.train\n" in done.stdout
    first, second = ["python", "-m", "sr_jax.fit", "--a=1", "--b", "('x',)"], ["python", "-m", "sr_jax.train"]
    assert sandbox.calls() == [first, second, second]
    lines = [json.loads(line) for line in (sandbox.folder / "out/steps.jsonl").read_text().splitlines()]
    assert [(line["name"], line["command"]) for line in lines] == [
        ("First", "python -m sr_jax.fit --a=1 --b ('x',)"),
        ("Second", "python -m sr_jax.train"),
    ]
    assert all(0 <= line["seconds"] < 60 and abs(line["began"] - time.time()) < 60 for line in lines)


# Each side waits for a file of the other.
_BESIDE = """\
other() {
  touch "$RECORDS/other"
  while [ ! -f "$RECORDS/main" ]; do sleep 0.01; done
  step "Other" train
}
beside other
touch "$RECORDS/main"
while [ ! -f "$RECORDS/other" ]; do sleep 0.01; done
join
echo joined
"""


@pytest.mark.parametrize("code", [0, 3])
def test_join_waits_for_what_runs_beside(sandbox, code):
    sandbox.answers("python", f"{code} a step of the other")
    done = sandbox.run(_script(sandbox, _BESIDE))
    assert "a step of the other" not in done.stdout
    assert "a step of the other\n" in (sandbox.folder / "out/other.log").read_text()
    if code == 0:
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("joined\n")
        return
    assert done.returncode == 1 and "joined" not in done.stdout
    assert done.stderr.startswith("error: what ran at the same time failed; the end of out/other.log:\n")
    assert done.stderr.endswith("a step of the other\n")


def test_what_runs_beside_ends_with_a_script_that_fails(sandbox):
    lines = 'other() { echo $BASHPID > "$RECORDS/pid"; sleep 60; }\nbeside other\n'
    lines += 'while [ ! -s "$RECORDS/pid" ]; do sleep 0.01; done\nexit 4\n'
    done = sandbox.run(_script(sandbox, lines))
    assert done.returncode == 4
    group = int((sandbox.records / "pid").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("it runs on")
