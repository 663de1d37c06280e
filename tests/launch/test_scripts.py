"""The launch scripts: clean, honest about what they would do, and running until training is done."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launch.commands import GKE, GPU_NODE, SLURM, TPU_VM, TRAIN, XPK, dry, printed, train_lines

ROOT = Path(__file__).parents[2]
SEPARATED = [TPU_VM, XPK, GKE, GPU_NODE]
TOOLS = ["gcloud", "git", "xpk", "kubectl", "srun", "scontrol", "nvidia-smi", "sudo", "gcsfuse"]


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck") or str(Path(sys.executable).parent / "shellcheck")
    scripts = [*ROOT.glob("launch/**/*.sh"), ROOT / "launch/slurm.sbatch", ROOT / ".ci/run"]
    assert len(scripts) >= 12
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [*SEPARATED, SLURM, ["tpu_host.sh"]], ids=lambda command: command[0])
def test_help(sandbox, command):
    done = sandbox.run(command[0], "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--dry-run" in done.stdout
    assert f"launch/{command[0]}" in done.stdout
    assert "#" not in done.stdout and "set -e" not in done.stdout


@pytest.mark.parametrize("options", [["--help"], ["--name", "n", "-h"]])
def test_help_of_a_kind_of_gke_cluster(sandbox, options):
    done = sandbox.run("gke/submit.sh", "tpu", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: render.py tpu") and "--topology" in done.stdout


@pytest.mark.parametrize(
    ("version", "old"), [("(3 2)", True), ("(4 3)", True), ("(4 4)", False), ("(5 0)", False), ("(10 0)", False)]
)
@pytest.mark.parametrize("script", ["tpu_vm.sh", "demo.sh"])
def test_an_old_bash_is_told_of(sandbox, script, version, old):
    common = sandbox.folder / "launch/common.sh"
    text = common.read_text()
    assert "BASH_VERSINFO" in text
    common.write_text(f"version={version}\n" + text.replace("BASH_VERSINFO", "version"))
    done = sandbox.run(script, "--big")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: this is bash" if old else "error: unknown option --big")


@pytest.mark.parametrize("command", [*SEPARATED, SLURM], ids=lambda command: command[0])
def test_a_dry_run_touches_nothing(sandbox, command):
    for tool in TOOLS:
        sandbox.stand_in(tool)

    def files():
        return {path: path.stat().st_mtime_ns for path in sandbox.folder.parent.rglob("*") if "tools" not in path.parts}

    before = files()
    done = sandbox.run(*dry(command))
    assert (done.returncode, done.stderr) == (0, "")
    assert sandbox.calls() == []
    assert files() == before


TRAIN_LINE = "--config configs/stage_one.py:tiny --workdir=/bucket/w '--config.train_modules=('\\''structure'\\'',)'"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            GPU_NODE,
            f"""\
+ export JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_MEM_FRACTION=0.96
+ export CUDA_VISIBLE_DEVICES=0,1,2,3
+ .venv/bin/python -m sr_jax.train {TRAIN_LINE}
# again until it ends with 0, with at most 10 failures; output goes to gpu_node.log too
""",
        ),
        (
            SLURM,
            f"""\
+ export JAX_COORDINATOR_ADDRESS=FIRST_NODE:PORT JAX_NUM_PROCESSES=NODES
+ export JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_MEM_FRACTION=0.96
+ srun --ntasks=NODES --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c \
'JAX_PROCESS_ID=$SLURM_NODEID exec .venv/bin/python -m sr_jax.train "$@"' train {TRAIN_LINE}
# exit code 0: done; 2: bad input, 3: diverged, not tried again; 75: what was trained is saved
# 76: it hung, as others: a failure
# after 75, and after at most 10 failures, which sr_jax-JOB.failures counts:
+ scontrol requeue JOB
""",
        ),
    ],
    ids=["gpu_node", "slurm"],
)
def test_what_a_dry_run_prints(sandbox, command, expected):
    assert sandbox.run(*dry(command)).stdout == expected


def test_what_a_dry_run_on_a_tpu_vm_prints(sandbox):
    lines = printed(sandbox.run(*dry(TPU_VM)))
    tpus, place = ["gcloud", "compute", "tpus"], "--zone=z"
    assert lines[0] == [
        *tpus, "queued-resources", "create", "n", place, "--node-id=n", "--accelerator-type=v5p-32",
        "--runtime-version=v2-alpha-tpuv5", "--spot",
    ]  # fmt: skip
    assert lines[1][:2] == ["git", "archive"]
    assert lines[2][:5] == [*tpus, "tpu-vm", "scp"]
    for line in lines[3:]:
        assert line[:-1] == [*tpus, "tpu-vm", "ssh", "n", place, "--worker=all"]
        assert line[-1].startswith("--command=")
    assert lines[3][-1].endswith("tpu_host.sh install b")
    # A shell on the host reads back what was given here.
    host = shlex.split(lines[4][-1].removeprefix("--command="))
    assert host == ["bash", "sr_jax/launch/tpu_host.sh", "train", *TRAIN]
    assert len(lines) == 5


def test_what_a_dry_run_of_xpk_prints(sandbox):
    lines = printed(sandbox.run(*dry(XPK)))
    assert lines[0][:-1] == [
        "xpk", "workload", "create", "--workload=n", "--cluster=c", "--tpu-type=v6e-8x8", "--num-slices=2",
        "--docker-image=i:1", "--max-restarts=100", "--restart-on-exit-codes=1,75,76",
        "--termination-grace-period-seconds=300",
    ]  # fmt: skip
    command = shlex.split(lines[0][-1].removeprefix("--command="))
    assert command == ["python", "-m", "sr_jax.train", *TRAIN]
    assert lines[1] == ["xpk", "workload", "list", "--cluster=c", "--wait-for-job-completion=n"]
    assert len(lines) == 2


def _without(command, option):
    where = command.index(option)
    return command[:where] + command[where + 2 :]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        *((command, "no training flags") for command in (*SEPARATED, SLURM)),
        ([*GPU_NODE, "--nodes", "2", "--", *TRAIN], "unknown option --nodes"),
        ([*GPU_NODE, "--retries", "--", *TRAIN], "--retries needs a value"),
        (["gpu_node.sh", "--gpus", "all", "--", *TRAIN], "--gpus is 'all': it must be a whole number"),
        (["gpu_node.sh", "--gpus", "0", "--", *TRAIN], "--gpus is 0"),
        (["gpu_node.sh", "--cuda", "11", "--", *TRAIN], "--cuda is '11': it must be 12 or 13"),
        (["gpu_node.sh", "--", *TRAIN], "nvidia-smi is not installed"),
        (["slurm.sbatch", *TRAIN], "this runs in a Slurm job"),
        ([*_without(TPU_VM, "--zone"), "--", *TRAIN], "--zone is missing"),
        ([*_without(TPU_VM, "--type"), "--type", "v9-8", "--", *TRAIN], "--type is 'v9-8'"),
        ([*_without(TPU_VM, "--bucket"), "--bucket", "gs://b", "--", *TRAIN], "--bucket is 'gs://b'"),
        ([*TPU_VM, "--project", "--", *TRAIN], "--project needs a value"),
        ([*TPU_VM, "--", *TRAIN], "gcloud is not installed"),
        ([*_without(XPK, "--image"), "--", *TRAIN], "--image is missing"),
        ([*XPK, "--", *TRAIN], "xpk is not installed"),
        ([*GKE, "--", *TRAIN], "kubectl is not installed"),
        (["tpu_host.sh", "dance"], "unknown action 'dance'"),
        (["demo.sh", "--big"], "unknown option --big"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(sandbox, command, message):
    done = sandbox.run(*command)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sandbox.calls() == []


@pytest.mark.parametrize(
    ("answers", "options", "code", "runs"),
    [
        ([75, 75, 1, 0], [], 0, 4),
        ([2], [], 2, 1),
        ([76, 3], [], 3, 2),
        ([76, 76], ["--retries", "1"], 76, 2),
        ([1, 134, 1], ["--retries", "2"], 1, 3),
        ([75, 1, 75, 1, 0], ["--retries", "2"], 0, 5),
    ],
)
def test_a_gpu_node_runs_until_it_is_done(sandbox, answers, options, code, runs):
    sandbox.stand_in("nvidia-smi")
    sandbox.answers("python", *(f"{answer} a step" for answer in answers))
    done = sandbox.run("gpu_node.sh", "--gpus", "2", *options, "--", *TRAIN)
    assert done.returncode == code, done.stdout + done.stderr
    assert train_lines(sandbox.calls("python")) == [["-m", "sr_jax.train", *TRAIN]] * runs
    environment = sandbox.environment("python")
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert (environment["JAX_PLATFORMS"], environment["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == ("cuda", "0.96")
    assert (sandbox.folder / "gpu_node.log").read_text().count("a step\n") == runs


def test_a_gpu_node_keeps_what_the_environment_says(sandbox):
    sandbox.stand_in("nvidia-smi")
    done = sandbox.run("gpu_node.sh", "--", *TRAIN, JAX_PLATFORMS="cuda,cpu", XLA_PYTHON_CLIENT_MEM_FRACTION="0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    environment = sandbox.environment("python")
    assert (environment["JAX_PLATFORMS"], environment["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == ("cuda,cpu", "0.5")


def _wait_for(path, process):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


# Ctrl-C and systemd signal the whole process group.
@pytest.mark.parametrize(
    ("kill", "number"), [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGINT), (os.killpg, signal.SIGTERM)]
)
def test_a_gpu_node_hands_a_signal_on(sandbox, kill, number):
    sandbox.stand_in("nvidia-smi")
    sandbox.answers("python", "wait")
    process = sandbox.start("gpu_node.sh", "--", *TRAIN)
    _wait_for(sandbox.records / "waiting", process)
    kill(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert (sandbox.records / "saved").exists()
    assert (sandbox.folder / "gpu_node.log").read_text().count("saving\n") >= 4
    assert len(train_lines(sandbox.calls("python"))) == 1


@pytest.mark.parametrize(
    ("answer", "restarts", "failures", "code", "again", "failures_then"),
    [
        (0, 0, 0, 0, False, 0),
        (0, 12, 3, 0, False, 0),
        (2, 0, 0, 2, False, 0),
        (3, 4, 2, 3, False, 0),
        (76, 4, 2, 0, True, 3),
        (75, 50, 10, 0, True, 10),
        # The restarts after saved checkpoints do not count.
        (1, 50, 0, 0, True, 1),
        (1, 9, 9, 0, True, 10),
        (1, 10, 10, 1, False, 0),
        # The file is an older job's.
        (1, 0, 10, 0, True, 1),
    ],
)
def test_a_slurm_job_queues_itself_again_until_it_is_done(
    sandbox, answer, restarts, failures, code, again, failures_then
):
    count = sandbox.folder / "sr_jax-123456.failures"
    if failures:
        count.write_text("exit code 1\n" * failures)
    sandbox.stand_in("srun")
    sandbox.answers("srun", answer)
    sandbox.stand_in("scontrol")
    sandbox.answers("scontrol", "0 node7")
    job = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[7-8]"}
    done = sandbox.run(
        "slurm.sbatch", *TRAIN, **job, SLURM_RESTART_COUNT=str(restarts), SLURM_SUBMIT_DIR=str(sandbox.folder)
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert len(count.read_text().splitlines() if count.exists() else []) == failures_then
    (srun,) = sandbox.calls("srun")
    assert srun[-len(TRAIN) :] == TRAIN
    environment = sandbox.environment("srun")
    assert environment["JAX_COORDINATOR_ADDRESS"] == "node7:23456"
    assert environment["JAX_NUM_PROCESSES"] == "2"
    assert (environment["JAX_PLATFORMS"], environment["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == ("cuda", "0.96")
    assert (["scontrol", "requeue", "123456"] in sandbox.calls()) == again
    # What a node runs.
    shell = srun[srun.index("bash") :]
    subprocess.run(
        shell, cwd=sandbox.folder, env=environment | {"SLURM_NODEID": "1", "RECORDS": str(sandbox.records)}, check=True
    )
    assert sandbox.environment("python")["JAX_PROCESS_ID"] == "1"
    assert train_lines(sandbox.calls("python")) == [["-m", "sr_jax.train", *TRAIN]]


@pytest.mark.parametrize("code", [0, 75, 2, 3, 76])
def test_a_tpu_host_says_how_training_ended(sandbox, code):
    sandbox.answers("python", f"{code} step 1")
    done = sandbox.run("tpu_host.sh", "train", *TRAIN)
    assert done.returncode == code
    assert "step 1\n" in done.stdout
    assert f"sr_jax ended with exit code {code} on " in done.stdout
    assert train_lines(sandbox.calls("python")) == [["-m", "sr_jax.train", *TRAIN]]
