"""Who joins a run, and how several processes fail together."""

import socket
import subprocess
import sys

import jax
import pytest

from sr_jax.errors import UserError
from sr_jax.parallel import processes

EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "node0:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
SLURM_STEP = {"SLURM_STEP_NODELIST": "node[0-3]", "SLURM_NTASKS": "4"}
ALONE, BY_FLAGS, DETECTED = None, (("node0:1234", 4, 3), {"cluster_detection_method": "deactivate"}), ((), {})


@pytest.fixture
def joined(monkeypatch):
    """The calls of `jax.distributed.initialize`."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


@pytest.mark.parametrize(
    ("environment", "tpu", "expected"),
    [
        ({}, False, ALONE),
        (EXPLICIT, False, BY_FLAGS),
        (EXPLICIT | SLURM_STEP, True, BY_FLAGS),
        (SLURM_STEP, False, DETECTED),
        (SLURM_STEP | {"SLURM_NTASKS": "1"}, False, ALONE),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False, ALONE),  # a shell in an allocation
        ({}, True, DETECTED),  # a TPU VM
        ({"TPU_SKIP_MDS_QUERY": "1"}, True, ALONE),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, True, ALONE),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True, DETECTED),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, True, DETECTED),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, False, ALONE),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}, True, ALONE),
    ],
)
def test_who_joins(joined, monkeypatch, environment, tpu, expected):
    monkeypatch.setattr(processes, "_has_tpu_chips", lambda: tpu)
    processes.initialize(environment=environment)
    assert joined == ([] if expected is ALONE else [expected])


def test_flags_come_before_the_environment(joined):
    processes.initialize("other:1", process_id=0, environment=EXPLICIT)
    assert joined == [(("other:1", 4, 0), {"cluster_detection_method": "deactivate"})]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "a:1"}, r"--num_processes \(or JAX_NUM_PROCESSES\) is missing"),
        ({"num_processes": 2, "process_id": 0}, r"--coordinator \(or JAX_COORDINATOR_ADDRESS\) is missing"),
        ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "--coordinator is 'a': it must be host:port"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, r"--process_id is 2: .* from 0 to 1"),
    ],
)
def test_bad_flags(joined, arguments, message):
    with pytest.raises(UserError, match=message):
        processes.initialize(**arguments, environment={})
    assert joined == []


def test_bad_environment(joined):
    with pytest.raises(UserError, match=r"must be whole numbers: .*'many'"):
        processes.initialize(environment=EXPLICIT | {"JAX_NUM_PROCESSES": "many"})


_FAIL_TOGETHER = """
import sys
from jax.experimental import multihost_utils
from sr_jax.errors import UserError
from sr_jax.parallel import processes

index = int(sys.argv[2])
processes.initialize(sys.argv[1], 2, index)
with processes.agreed():
    pass
try:
    with processes.agreed():
        if index == 1:
            raise UserError("no such folder")
except UserError as error:
    print(error, flush=True)
with processes.falling_together():
    if index == 1:
        raise ZeroDivisionError("a defect")
    multihost_utils.sync_global_devices("waits for the other for ever")
"""


def test_they_fail_together():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", _FAIL_TOGETHER, coordinator]
    both = [
        subprocess.Popen([*command, str(index)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=200) for process in both]
    finally:
        for process in both:
            process.kill()
    assert "process 1 found bad input" in outputs[0][0]
    assert "no such folder" in outputs[1][0]
    assert "ZeroDivisionError: a defect" in outputs[1][1]
    assert both[1].returncode == 1
    # It is not left waiting: JAX ends it.
    assert both[0].returncode != 0
