"""What the benchmark of a stage two step says about a measurement that failed."""

import sys

import pytest

from benchmarks.stage_two_step import run_for_error

_JAX_ERROR = """
import jax, jax.numpy as jnp
jax.jit(lambda x: jnp.reshape(x, (7,)))(jnp.ones(3))
"""
_OUT_OF_MEMORY = """
import sys
print("RESOURCE_EXHAUSTED: out of memory allocating 17 bytes", "a table", "----", sep="\\n", file=sys.stderr)
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("program", "error"),
    [
        (_JAX_ERROR, "TypeError: cannot reshape array of shape (3,)"),
        (_OUT_OF_MEMORY, "RESOURCE_EXHAUSTED: out of memory allocating 17 bytes"),
        ("import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)", "last"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("import sys; print('an Error that was handled', file=sys.stderr)", ""),
        ("import time; time.sleep(60)", "stopped after 1 seconds"),
    ],
    ids=["jax", "memory", "other", "killed", "no_error", "too_long"],
)
def test_the_error_of_a_program_is_the_line_that_says_it(program, error):
    said = run_for_error([sys.executable, "-c", program], 1 if "sleep" in program else 60)
    assert said.startswith(error) and bool(said) == bool(error)
