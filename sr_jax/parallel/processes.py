"""Several processes that are one run: how they find each other, fail together and stop together."""

import contextlib
import glob
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Bool

from sr_jax.errors import OneLineError, PreemptedError, UserError

_EXPLICIT = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Joins this process to the others of its run, where there are others; call it before anything else of JAX.

    What says so, first come first served: the arguments, or the environment variables `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, with all local devices for each process; a Slurm step of several tasks,
    in which JAX gives each task one GPU; a TPU pod. On a machine by itself nothing happens.

    Args:
        coordinator: `host:port` of process 0.
        num_processes: How many processes there are.
        process_id: This one, from 0.
        environment: The environment variables.

    Raises:
        UserError: When only some of the three are given, or one of them makes no sense.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    given |= {name: environment.get(_EXPLICIT[name]) for name, value in given.items() if value is None}
    if any(value is not None for value in given.values()):
        jax.distributed.initialize(*_checked(given), cluster_detection_method="deactivate")
    elif _is_slurm_step(environment) or _is_tpu_pod(environment):
        jax.distributed.initialize()


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """All processes leave this block, or none does: one that finds bad input in it takes the others with it.

    In the block a process must wait for no other.

    Raises:
        UserError: What was raised in the block here or, when it was raised elsewhere, which process to ask.
    """
    problem = None
    try:
        yield
    except UserError as error:
        problem = error
    failed = np.flatnonzero(votes(problem is not None))
    if len(failed) and problem is None:
        problem = UserError(f"process {failed[0]} found bad input and says which")
    if problem is not None:
        raise problem


def votes(mine: bool) -> Bool[np.ndarray, " processes"]:
    """What each process says, in all of them; each must ask, and waits for the others."""
    if jax.process_count() == 1:
        return np.array([mine])
    return np.asarray(multihost_utils.process_allgather(np.int32(mine))).astype(bool)


@contextlib.contextmanager
def falling_together() -> Iterator[None]:
    """A defect in one of several processes ends it at once, so that the others notice instead of waiting for it.

    Without this, Python's exit would wait for processes that wait for this one.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1 or isinstance(error, OneLineError):
            raise
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


@contextlib.contextmanager
def stop_requests() -> Iterator["StopRequests"]:
    """Takes SIGTERM as the request to stop after a step, instead of dying of it; for the main thread.

    Until `StopRequests.begin` there is nothing to save, and a `PreemptedError` is raised at once; of several processes
    each takes it after its first step.
    """
    requests = StopRequests()
    # With several processes JAX's own handler tells all of them.
    if jax.process_count() > 1:
        yield requests
        return
    before = signal.signal(signal.SIGTERM, requests.take)
    try:
        yield requests
    finally:
        signal.signal(signal.SIGTERM, before)


class StopRequests:
    """Whether the run was told to stop; several processes agree on the step after which they do."""

    def __init__(self) -> None:
        self._begun = self._taken = False

    def begin(self) -> None:
        """From now on there are steps, after which to stop."""
        self._begun = True

    def take(self, *_: Any) -> None:
        """Notes one; a signal handler.

        Raises:
            PreemptedError: When no step has begun.
        """
        self._taken = True
        if not self._begun:
            raise PreemptedError("told to stop before the first step: run the same again")

    def reached(self, step: int) -> bool:
        """Whether to save and stop after `step`; every process asks after each of its steps."""
        return self._taken if jax.process_count() == 1 else multihost_utils.reached_preemption_sync_point(step)


def _checked(given: Mapping[str, Any]) -> tuple[str, int, int]:
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UserError(
            f"--{missing[0]} (or {_EXPLICIT[missing[0]]}) is missing: give --coordinator, --num_processes and "
            "--process_id together, or none of them"
        )
    host, _, port = given["coordinator"].rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--coordinator is {given['coordinator']!r}: it must be host:port of process 0")
    try:
        count, index = int(given["num_processes"]), int(given["process_id"])
    except ValueError as error:
        raise UserError(f"--num_processes and --process_id must be whole numbers: {error}") from error
    if not 0 <= index < count:
        raise UserError(f"--process_id is {index}: with --num_processes={count} it goes from 0 to {count - 1}")
    return given["coordinator"], count, index


def _is_slurm_step(environment: Mapping[str, str]) -> bool:
    # A shell inside an allocation has the job's variables too; only a step has its list of nodes.
    return "SLURM_STEP_NODELIST" in environment and int(environment.get("SLURM_NTASKS", "1")) > 1


def _is_tpu_pod(environment: Mapping[str, str]) -> bool:
    if "tpu" not in (environment.get("JAX_PLATFORMS") or "tpu").split(",") or not _has_tpu_chips():
        return False
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
    if hosts:
        return "," in hosts or int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1
    # A TPU VM: JAX asks the metadata server, unless that is switched off because there is none.
    return "TPU_SKIP_MDS_QUERY" not in environment


def _has_tpu_chips() -> bool:
    devices = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
    return bool(devices) and importlib.util.find_spec("libtpu") is not None
