"""A copy of the launch scripts in a folder of its own, with stand-ins for the tools that they call."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Writes down how it was called, answers with the next line of NAME.answers (an exit code, then what to print), or 0.
# What to print may have escapes. The answer `wait` waits for SIGTERM, prints on while it saves, and ends with 75.
_STAND_IN = r"""#!/usr/bin/env bash
name=$(basename "$0")
call=$(printf '\t%s' "$@")
# In one write: scripts run steps beside each other, and two lines would be mixed.
printf '%s\n' "$name$call" >> "$RECORDS/calls"
env > "$RECORDS/$name.environment"
answers=$RECORDS/$name.answers
answer=$(head -n 1 "$answers" 2> /dev/null || true)
[ ! -f "$answers" ] || sed -i 1d "$answers"
read -r code text <<< "$answer"
case $code in
  wait)
    trap 'for i in 1 2 3 4; do echo saving; sleep 0.05; done; touch "$RECORDS/saved"; exit 75' TERM
    touch "$RECORDS/waiting"
    while :; do sleep 0.05; done
    ;;
esac
[ -z "$text" ] || printf '%b\n' "$text"
exit "${code:-0}"
"""


# All that the scripts find here besides stand-ins, so that no test can ever reach a real cloud or cluster, nor a Python
# that would make an environment: python3 is one that can write a manifest and nothing else.
_HARMLESS = (
    "basename", "bash", "cat", "cksum", "cp", "date", "dirname", "env", "grep", "head", "hostname", "mkdir", "mktemp",
    "rm", "sed", "seq", "sleep", "sort", "tail", "tee", "touch", "tr",
)  # fmt: skip

_MANIFEST_WRITER = f"""#!/usr/bin/env bash
case "$1" in
  launch/gke/render.py) exec '{Path(sys.executable).resolve()}' -I "$@" ;;
  *) exit 1 ;;
esac
"""


class Sandbox:
    """Runs launch scripts of a copy of the project; see `calls` for what they ran.

    Attributes:
        folder: The copy of the project.
        records: What stand-ins answer, and what they were called with.
        tools: All that the scripts have in their PATH.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "project"
        self.records = folder / "records"
        self.tools = folder / "tools"
        for path in (self.folder, self.records, self.tools):
            path.mkdir()
        shutil.copytree(ROOT / "launch", self.folder / "launch")
        shutil.copy(ROOT / "setup.py", self.folder)
        for name in _HARMLESS:
            (self.tools / name).symlink_to(shutil.which(name))
        self._write_tool(self.tools / "python3", _MANIFEST_WRITER)
        self.stand_in("python", self.folder / ".venv" / "bin")
        # The environment counts as made.
        pinned = b"".join((self.folder / name).read_bytes() for name in ("setup.py", "launch/constraints.txt"))
        stamp = subprocess.run(["cksum"], input=pinned, capture_output=True).stdout.decode().strip()
        (self.folder / ".venv/installed").write_text("".join(f"{extra} {stamp}\n" for extra in ("cuda", "tpu")))

    def stand_in(self, name: str, folder: Path | None = None) -> None:
        """Puts a stand-in for a tool in the way."""
        self._write_tool((folder or self.tools) / name, _STAND_IN)

    def _write_tool(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link to the tool itself.
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def answers(self, name: str, *lines: str | int) -> None:
        """What a stand-in answers, call by call: an exit code and what it prints."""
        (self.records / f"{name}.answers").write_text("".join(f"{line}\n" for line in lines))

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        """Starts a script, in a process group of its own; its output is text."""
        # Nothing of the caller's: PYTHON, for one, would be an interpreter outside.
        variables = {
            "PATH": str(self.tools),
            "HOME": str(self.folder.parent),
            "RECORDS": str(self.records),
            "RETRY_SECONDS": "0",
            "POLL_SECONDS": "0",
            "PIP_NO_INDEX": "1",
        }
        return subprocess.Popen(
            # Where the tests run in the background, a shell would find Ctrl-C ignored and could not trap it.
            ["env", "--default-signal=INT", "bash", str(self.folder / "launch" / script), *arguments],
            cwd=self.folder.parent,
            env=variables | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Runs a script to its end."""
        process = self.start(script, *arguments, **environment)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def calls(self, name: str | None = None) -> list[list[str]]:
        """The calls of the stand-ins so far, oldest first: name and arguments."""
        path = self.records / "calls"
        calls = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in calls if name in (None, call[0])]

    def environment(self, name: str) -> dict[str, str]:
        """The environment variables of the last call of a stand-in."""
        lines = (self.records / f"{name}.environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)
