"""The launch scripts: clean, honest about what they would do, and running until training is done."""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = ["--config", "configs/stage_one.py:tiny", "--workdir=/bucket/w", "--config.train_modules=('structure',)"]

TPU_VM = ["tpu_vm.sh", "--name", "n", "--zone", "z", "--type", "v5p-32", "--bucket", "b", "--spot"]
XPK = ["xpk.sh", "--name", "n", "--cluster", "c", "--type", "v6e-8x8", "--image", "i:1", "--slices", "2"]
GKE = ["gke/submit.sh", "gpu", "--name", "n", "--image", "i", "--bucket", "b", "--gpu", "h100", "--nodes", "2"]
GPU_NODE = ["gpu_node.sh", "--gpus", "4"]
SLURM = ["slurm.sbatch"]
SEPARATED = [TPU_VM, XPK, GKE, GPU_NODE]
TOOLS = ["gcloud", "git", "xpk", "kubectl", "srun", "scontrol", "nvidia-smi", "sudo", "gcsfuse"]


def _dry(command):
    script, *options = command
    return [script, "--dry-run", *options, *([] if command is SLURM else ["--"]), *TRAIN]


def _printed(done):
    """The commands that a run says that it runs."""
    return [shlex.split(line[2:]) for line in done.stdout.splitlines() if line.startswith("+ ")]


def _train_lines(calls):
    return [call[1:] for call in calls if call[1:3] == ["-m", "sr_jax.train"]]


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


@pytest.mark.parametrize("command", [*SEPARATED, SLURM], ids=lambda command: command[0])
def test_a_dry_run_touches_nothing(sandbox, command):
    for tool in TOOLS:
        sandbox.stand_in(tool)

    def files():
        return {path: path.stat().st_mtime_ns for path in sandbox.folder.parent.rglob("*") if "tools" not in path.parts}

    before = files()
    done = sandbox.run(*_dry(command))
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
# exit code 0: done; 2: bad input, not tried again; 75: what was trained is saved; others: a failure
# after 75, and after at most 10 failures, which sr_jax-JOB.failures counts:
+ scontrol requeue JOB
""",
        ),
    ],
    ids=["gpu_node", "slurm"],
)
def test_what_a_dry_run_prints(sandbox, command, expected):
    assert sandbox.run(*_dry(command)).stdout == expected


def test_what_a_dry_run_on_a_tpu_vm_prints(sandbox):
    lines = _printed(sandbox.run(*_dry(TPU_VM)))
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
    lines = _printed(sandbox.run(*_dry(XPK)))
    assert lines[0][:-1] == [
        "xpk", "workload", "create", "--workload=n", "--cluster=c", "--tpu-type=v6e-8x8", "--num-slices=2",
        "--docker-image=i:1", "--max-restarts=100", "--restart-on-exit-codes=1,75",
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
        ([1, 134, 1], ["--retries", "2"], 1, 3),
        ([75, 1, 75, 1, 0], ["--retries", "2"], 0, 5),
    ],
)
def test_a_gpu_node_runs_until_it_is_done(sandbox, answers, options, code, runs):
    sandbox.stand_in("nvidia-smi")
    sandbox.answers("python", *(f"{answer} a step" for answer in answers))
    done = sandbox.run("gpu_node.sh", "--gpus", "2", *options, "--", *TRAIN)
    assert done.returncode == code, done.stdout + done.stderr
    assert _train_lines(sandbox.calls("python")) == [["-m", "sr_jax.train", *TRAIN]] * runs
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


def test_a_gpu_node_hands_a_signal_on(sandbox):
    sandbox.stand_in("nvidia-smi")
    sandbox.answers("python", "wait")
    process = sandbox.start("gpu_node.sh", "--", *TRAIN)
    deadline = time.monotonic() + 30
    while not (sandbox.records / "waiting").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert len(_train_lines(sandbox.calls("python"))) == 1


@pytest.mark.parametrize(
    ("answer", "restarts", "failures", "code", "again", "failures_then"),
    [
        (0, 0, 0, 0, False, 0),
        (0, 12, 3, 0, False, 0),
        (2, 0, 0, 2, False, 0),
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
    assert _train_lines(sandbox.calls("python")) == [["-m", "sr_jax.train", *TRAIN]]


def _verbs(calls):
    """What gcloud was asked; the state of the TPU VM is "ready?"."""
    return ["ready?" if call[3:5] == ["tpu-vm", "describe"] else call[4] for call in calls if call[0] == "gcloud"]


@pytest.mark.parametrize("gone", [["0 SUSPENDED"], ["0 ACTIVE", "0 PREEMPTED"], ["0 ACTIVE", "1"]])
def test_a_tpu_vm_is_asked_for_again_after_a_preemption(sandbox, gone):
    sandbox.stand_in("git")
    sandbox.stand_in("gcloud")
    sandbox.answers(
        "gcloud",
        "1",                                         # describe: there is none
        "0", "0 WAITING_FOR_RESOURCES",              # create, describe
        "0 ACTIVE", "0 READY",                       # describe both
        "0", "0", "1",                               # scp, install, train: cut off
        *gone,                                       # describe: preempted
        "0 SUSPENDED", "0", "1", "0",                # describe, delete, describe, create
        "0 ACTIVE", "0 READY",                       # describe both
        "0", "0", "0 sr_jax ended with exit code 0 on host-0",
    )  # fmt: skip
    done = sandbox.run(*TPU_VM, "--retries", "0", "--log", "tpu.log", "--", *TRAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _verbs(sandbox.calls()) == [
        "describe", "create", "describe", "describe", "ready?", "scp", "ssh", "ssh",
        *["describe", "ready?"][: len(gone)],
        "describe", "delete", "describe", "create", "describe", "ready?", "scp", "ssh", "ssh",
    ]  # fmt: skip
    assert "ended with exit code 0" in (sandbox.folder / "tpu.log").read_text()


def test_what_fails_on_a_tpu_vm_that_is_preempted_is_no_failure(sandbox):
    sandbox.stand_in("git")
    sandbox.stand_in("gcloud")
    sandbox.answers(
        "gcloud",
        "0 ACTIVE", "0 READY", "1", "0 ACTIVE", "0 PREEMPTED",  # scp fails: preempted, and so at the next try
        "0 ACTIVE", "0 PREEMPTED", "0", "1", "0",               # delete, describe, create
        "0 ACTIVE", "0 REPAIRING", "0 ACTIVE", "0 READY",
        "0", "1", "0 SUSPENDED",                                # install fails: preempted
        "0 ACTIVE", "0 READY", "1", "0 ACTIVE", "0 READY",      # scp fails: a failure
    )  # fmt: skip
    done = sandbox.run(*TPU_VM, "--retries", "0", "--log", "tpu.log", "--", *TRAIN)
    assert done.returncode == 1, done.stdout + done.stderr
    assert _verbs(sandbox.calls()) == [
        "describe", "ready?", "scp", "describe", "ready?",
        "describe", "ready?", "delete", "describe", "create", *2 * ["describe", "ready?"], "scp", "ssh", "describe",
        "describe", "ready?", "scp", "describe", "ready?",
    ]  # fmt: skip
    assert (sandbox.folder / "tpu.log").read_text().count("Stopped early") == 2


@pytest.mark.parametrize(
    ("said", "deleted", "code"),
    [
        ("0 sr_jax ended with exit code 0 on host-0", 0, 0),
        ("1 sr_jax ended with exit code 2 on host-0", 0, 2),
        ("1 sr_jax ended with exit code 2 on host-0", 1, 2),
        ("0 sr_jax ended with exit code 0 on host-0", 1, 1),
    ],
)
def test_a_tpu_vm_is_given_back_however_training_ended(sandbox, said, deleted, code):
    sandbox.stand_in("git")
    sandbox.stand_in("gcloud")
    sandbox.answers("gcloud", "0 ACTIVE", "0 READY", "0", "0", said, deleted)
    done = sandbox.run(*TPU_VM, "--delete", "--log", "tpu.log", "--", *TRAIN)
    assert done.returncode == code, done.stdout + done.stderr
    assert _verbs(sandbox.calls())[-1] == "delete"
    assert ("n was not given back" in done.stdout) == bool(deleted)


@pytest.mark.parametrize(
    ("said", "code", "runs"),
    [
        (["0 sr_jax ended with exit code 0 on host-0"], 0, 1),
        (["1 sr_jax ended with exit code 2 on host-1"], 2, 1),
        (["1 sr_jax ended with exit code 75 on host-1", "0 sr_jax ended with exit code 0 on host-0"], 0, 2),
        (["1 sr_jax ended with exit code 1 on host-1", "1 sr_jax ended with exit code 1 on host-1"], 1, 2),
    ],
)
def test_a_tpu_vm_that_is_there_is_taken_and_training_ends_as_it_says(sandbox, said, code, runs):
    sandbox.stand_in("git")
    sandbox.stand_in("gcloud")
    answers = []
    for line in said:
        answers += ["0 ACTIVE", "0 READY", "0", "0", line]
        # What is no preemption is looked into.
        answers += ["0 ACTIVE", "0 READY"] if "code 1 " in line else []
    sandbox.answers("gcloud", *answers)
    done = sandbox.run(*TPU_VM, "--retries", "1", "--log", "tpu.log", "--", *TRAIN)
    assert done.returncode == code, done.stdout + done.stderr
    verbs = _verbs(sandbox.calls())
    assert "create" not in verbs and verbs.count("scp") == runs


@pytest.mark.parametrize("code", [0, 75, 2])
def test_a_tpu_host_says_how_training_ended(sandbox, code):
    sandbox.answers("python", f"{code} step 1")
    done = sandbox.run("tpu_host.sh", "train", *TRAIN)
    assert done.returncode == code
    assert "step 1\n" in done.stdout
    assert f"sr_jax ended with exit code {code} on " in done.stdout
    assert _train_lines(sandbox.calls("python")) == [["-m", "sr_jax.train", *TRAIN]]


# As XPK prints it: a filter by name also finds longer names.
_OTHERS = r"0 Jobset Name   Status\nn-2   Finished\n"
_LIVE, _ENDED = _OTHERS + r"n   Admitted", _OTHERS + r"n   Finished"


@pytest.mark.parametrize(
    ("answers", "calls"),
    [
        ([_OTHERS], ["EVERYTHING", "create", "wait"]),
        ([_LIVE, _OTHERS], ["EVERYTHING", "FINISHED", "wait"]),
        (
            [_ENDED, _ENDED, "0", _ENDED, _OTHERS],
            ["EVERYTHING", "FINISHED", "delete", "EVERYTHING", "EVERYTHING", "create", "wait"],
        ),
    ],
    ids=["none", "live", "ended"],
)
@pytest.mark.parametrize("end", [0, 125])
def test_an_xpk_workload_is_created_unless_it_lives(sandbox, answers, calls, end):
    sandbox.stand_in("xpk")
    sandbox.answers("xpk", *answers, *(["0"] if "create" in calls else []), end)
    done = sandbox.run(*XPK, "--", *TRAIN)
    assert done.returncode == end, done.stdout + done.stderr
    made = sandbox.calls("xpk")
    options = [dict(option.lstrip("-").split("=", 1) for option in call[3:]) for call in made]
    assert all(option["cluster"] == "c" for option in options)
    names = [
        "wait" if "wait-for-job-completion" in option else option.get("filter-by-status", call[2])
        for call, option in zip(made, options, strict=True)
    ]
    assert names == calls
    # Create and wait are what the dry run says.
    dry = _printed(sandbox.run(*_dry(XPK)))
    assert [call for call, name in zip(made, names, strict=True) if name in ("create", "wait")] == (
        dry if "create" in calls else dry[1:]
    )
    assert ["xpk", "workload", "delete", "--workload=n", "--cluster=c"] in made or "delete" not in calls


def test_an_xpk_that_does_not_answer_ends_the_run(sandbox):
    sandbox.stand_in("xpk")
    sandbox.answers("xpk", "3 no such cluster")
    done = sandbox.run(*XPK, "--", *TRAIN)
    assert (done.returncode, done.stderr) == (3, "no such cluster\n")
    assert len(sandbox.calls("xpk")) == 1


@pytest.mark.parametrize(
    ("answers", "verbs", "code"),
    [
        # None is there; it runs, shows its log, and ends.
        (["0", "0", "0", "0", "0 Completed"], ["get", "apply", "get", "logs", "get"], 0),
        # One that runs is followed.
        (["0", "0 unchanged", "0 Completed"], ["get", "apply", "get"], 0),
        # One that ended is made anew.
        (["0 Failed ReachedMaxRestarts", "0", "0", "0 Completed"], ["get", "delete", "apply", "get"], 0),
        (["0 Completed", "0", "0", "0 Completed"], ["get", "delete", "apply", "get"], 0),
        # While it runs, an answer that fails is no end.
        (["0", "0", "1", "0", "0 Failed ReachedMaxRestarts"], ["get", "apply", "get", "logs", "get"], 1),
        (["0", "0", "0 Failed FailJobSetFailurePolicyAction"], ["get", "apply", "get"], 2),
        (["1 no such cluster"], ["get"], 1),
        (["0", "1 no permission"], ["get", "apply"], 1),
        (["0", "1 spec.replicatedJobs: Invalid value: field is immutable"], ["get", "apply"], 2),
    ],
)
def test_a_jobset_is_made_unless_it_runs_and_ends_as_kubernetes_says(sandbox, answers, verbs, code):
    sandbox.stand_in("kubectl")
    sandbox.answers("kubectl", *answers)
    done = sandbox.run(*GKE, "--", *TRAIN)
    assert done.returncode == code, done.stdout + done.stderr
    calls = sandbox.calls("kubectl")
    assert [call[1] for call in calls] == verbs
    assert all(call[2:4] == ["jobset", "n"] for call in calls if call[1] in ("get", "delete"))
    if "immutable" in answers[-1]:
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: the JobSet n runs with other flags") and "kubectl delete jobset n" in line
