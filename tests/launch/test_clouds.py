"""Runs on TPU VMs, XPK and GKE: taken where they are there, made anew where they ended, until training is done."""

import pytest

from tests.launch.commands import GKE, TPU_VM, TRAIN, XPK, dry, printed


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


def test_a_tpu_vm_that_was_stopped_is_not_waited_for(sandbox):
    sandbox.stand_in("git")
    sandbox.stand_in("gcloud")
    sandbox.answers("gcloud", "0 ACTIVE", "0 STOPPED")
    done = sandbox.run(*TPU_VM, "--retries", "0", "--log", "tpu.log", "--", *TRAIN)
    assert done.returncode == 1 and "n was stopped" in done.stdout
    assert _verbs(sandbox.calls()) == ["describe", "ready?"]


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
        ([r"1 sr_jax ended with exit code 3 on host-0\nsr_jax ended with exit code 76 on host-1"], 3, 1),
        (["1 sr_jax ended with exit code 76 on host-1", "0 sr_jax ended with exit code 0 on host-0"], 0, 2),
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
        answers += (
            ["0 ACTIVE", "0 READY"] if "code 1 " in line or ("code 76 " in line and "code 3 " not in line) else []
        )
    sandbox.answers("gcloud", *answers)
    done = sandbox.run(*TPU_VM, "--retries", "1", "--log", "tpu.log", "--", *TRAIN)
    assert done.returncode == code, done.stdout + done.stderr
    verbs = _verbs(sandbox.calls())
    assert "create" not in verbs and verbs.count("scp") == runs


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
    expected = printed(sandbox.run(*dry(XPK)))
    assert [call for call, name in zip(made, names, strict=True) if name in ("create", "wait")] == (
        expected if "create" in calls else expected[1:]
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
        (
            ["0", "0", "0 Failed FailJobSetFailurePolicyAction", "0 pod p failed with exit code 2 matching FailJob"],
            ["get", "apply", "get", "get"],
            2,
        ),
        (
            ["0", "0", "0 Failed FailJobSetFailurePolicyAction", "0 pod p failed with exit code 3 matching FailJob"],
            ["get", "apply", "get", "get"],
            3,
        ),
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
    asked = [call for call in calls if call[1] in ("get", "delete") and call[2] != "jobs"]
    assert all(call[2:4] == ["jobset", "n"] for call in asked)
    if "immutable" in answers[-1]:
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: the JobSet n runs with other flags") and "kubectl delete jobset n" in line
