r"""Speed and memory of one stage two step on the accelerator of this machine, for each remat policy.

  python -m benchmarks.stage_two_step --output RESULTS

Full fine-tuning of CogVideoX-5B-I2V with both losses, through a structure module of 12 blocks, on random clips of 49
frames, 480x720; on devices of less than 100 GiB, parameters and optimizer state are bfloat16. The attention kernel is
first checked against the one that XLA compiles. Every measurement has a process of its own, and what is not done within
`--minutes` is left out. RESULTS gets `attention.json` and a file for each policy as soon as it is measured.
`peak_gib` is the most that its process had allocated, the creation of the state and of the clips included; where it is
not above `creation_peak_gib`, the most until then, it says no more about the step than an upper limit. On a machine
without an accelerator, at a size for it:

  python -m benchmarks.stage_two_step --output RESULTS --size tiny --tokens 300 --steps 1 --remat block
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLICIES = ("block", "save_attention", "offload", "save_matmuls", "none")
# Of the device's memory; XLA's own default leaves a quarter of it to others.
_MEMORY_FRACTION = "0.96"
_LARGE_MEMORY = 100 * 2**30
_MAX_ERROR = 0.02


def main() -> None:
    """Starts a process for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", default="5b_i2v", help="a named size of the configs")
    parser.add_argument("--remat", nargs="+", default=POLICIES, choices=POLICIES)
    parser.add_argument("--clips", type=int, default=1, help="clips of one step and device")
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed, after one that is not")
    parser.add_argument("--tokens", type=int, default=17_776, help="length at which attention is checked")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.only:
        measure = {"attention": lambda: measure_attention(arguments.tokens)}
        run = measure.get(arguments.only, lambda: measure_step(arguments))
        (arguments.output / f"{arguments.only}.json").write_text(json.dumps(run(), indent=2) + "\n")
        return
    end = time.monotonic() + 60 * arguments.minutes
    for name in ("attention", *arguments.remat):
        _in_a_process(name, arguments.output / f"{name}.json", end - time.monotonic())


def _in_a_process(name: str, result: Path, seconds: float) -> None:
    if seconds <= 0:
        print(f"{name}: not measured, the time is over", flush=True)
        return
    command = [sys.executable, "-m", "benchmarks.stage_two_step", *sys.argv[1:], "--only", name]
    error = run_for_error(command, seconds)
    if error:
        result.write_text(json.dumps({"error": error}, indent=2) + "\n")
    print(f"{name}: {result.read_text()}", flush=True)


def run_for_error(command: list[str], seconds: float) -> str:
    """Runs a JAX program; one line that says why it failed, or "" when it did not."""
    environment = os.environ | {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": _MEMORY_FRACTION,
        # Else the last line of an error is about the frames that JAX hides.
        "JAX_TRACEBACK_FILTERING": "off",
    }
    try:
        done = subprocess.run(command, env=environment, timeout=seconds, stderr=subprocess.PIPE, text=True)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} seconds"
    if not done.returncode:
        return ""
    return error_line(done.stderr) or f"exit code {done.returncode}"


def error_line(log: str) -> str:
    """The line of a failed program's log that says why it failed; "" when there is none."""
    lines = log.strip().splitlines() or [""]
    errors = [line for line in lines if re.search("Error|RESOURCE_EXHAUSTED", line)]
    return (errors or lines)[-1][:1000]


def measure_attention(tokens: int) -> dict[str, Any]:
    """The device's attention kernel in bfloat16: how far from XLA's in float32, and how fast.

    Raises:
        ValueError: When it is too far.
    """
    import jax
    import jax.numpy as jnp

    from sr_jax.models import attention_kernels

    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, weights = (jax.random.normal(key, (1, tokens, 48, 64), jnp.bfloat16) for key in keys)
    kernel = attention_kernels.choose(jax.default_backend(), q, k)

    def with_gradients(kernel: Any, *inputs: Any) -> Any:
        def product(q: Any, k: Any, v: Any) -> Any:
            out = kernel(q, k, v, tokens)
            return jnp.sum(out.astype(jnp.float32) * weights), out

        gradients, out = jax.grad(product, argnums=(0, 1, 2), has_aux=True)(*inputs)
        return out, *gradients

    run = jax.jit(lambda *inputs: with_gradients(kernel, *inputs))
    got, seconds = _timed(lambda: run(q, k, v), 5)
    reference = functools.partial(attention_kernels.chunked_attention, max_logits_bytes=2**28)
    exact = jax.jit(lambda *inputs: with_gradients(reference, *inputs))(*(x.astype(jnp.float32) for x in (q, k, v)))
    errors = {
        name: float(jnp.linalg.norm(a.astype(jnp.float32) - b) / jnp.linalg.norm(b))
        for name, a, b in zip(("out", "dq", "dk", "dv"), got, exact, strict=True)
    }
    if max(errors.values()) > _MAX_ERROR:
        raise ValueError(f"attention differs from the reference by {errors}")
    # Two products forwards, five backwards.
    flops = 7 * 2 * tokens**2 * 48 * 64
    return {
        "device": jax.local_devices()[0].device_kind,
        "kernel": getattr(kernel, "func", kernel).__name__,
        "tokens": tokens,
        "relative_errors": errors,
        "seconds": seconds,
        "tflops_per_second": flops / seconds / 1e12,
    }


def measure_step(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds, model FLOP utilisation and peak memory of a step under one remat policy."""
    import jax
    import jax.numpy as jnp

    from benchmarks.training_step import TrainingStep
    from sr_jax.configs import stage_one, stage_two
    from sr_jax.parallel.chips import find_chip

    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    config = stage_two.get_config(arguments.size)
    config.remat = arguments.only
    config.batch_size = arguments.clips * jax.device_count()
    if stats.get("bytes_limit", _LARGE_MEMORY) < _LARGE_MEMORY:
        config.param_dtype = config.frozen_dtype = config.optimizer.state_dtype = "bfloat16"
    step = TrainingStep(config, stage_one.get_config(arguments.size).to_dict())
    start = time.monotonic()
    memory = step.compile()
    compile_seconds = time.monotonic() - start
    step.create()
    creation_peak = _peak_gib(device)
    loss, seconds = _timed(step, arguments.steps)
    chip = find_chip(device.device_kind)
    return {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "size": arguments.size,
        "remat": config.remat,
        "clips": config.batch_size,
        "param_dtype": config.param_dtype,
        "state_dtype": config.optimizer.state_dtype,
        "loss_is_finite": bool(jnp.isfinite(loss.compute())),
        "compile_seconds": compile_seconds,
        "seconds_per_step": seconds,
        "model_tflops_per_second_and_device": step.flops / seconds / 1e12,
        "mfu": step.flops / seconds / chip.flops if chip else None,
        "peak_gib": _peak_gib(device),
        "creation_peak_gib": creation_peak,
        "arguments_gib": memory.argument_size_in_bytes / 2**30,
        "temporaries_gib": memory.temp_size_in_bytes / 2**30,
    }


def _peak_gib(device: Any) -> float | None:
    """The most memory that this process ever had on a device; None where that is not counted."""
    stats = device.memory_stats()
    return stats["peak_bytes_in_use"] / 2**30 if stats else None


def _timed(run: Any, repeats: int) -> tuple[Any, float]:
    """The last result, and seconds a call after a first one."""
    import jax

    jax.block_until_ready(run())
    start = time.monotonic()
    for _ in range(repeats):
        result = run()
    jax.block_until_ready(result)
    return result, (time.monotonic() - start) / repeats


if __name__ == "__main__":
    main()
