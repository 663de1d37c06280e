r"""Plans stage two of the released models on pods, and writes the table of what came out.

  python -m benchmarks.plan_pods --output benchmarks/results/plan_pods.json --page docs/scaling.md

Each plan is a `python -m sr_jax.plan` of its own, one after the other. `--only v5p:2x2x4` plans one pod and keeps what
the results file says of the others; `--page` writes the table between its markers from that file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from benchmarks.pages import publish
from sr_jax.configs.pods import PODS

_GIB = 2**30


def plan(size: str, pod: str) -> dict:
    """Runs one plan; what it found, as `sr_jax.plan --output` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        command = [sys.executable, "-m", "sr_jax.plan", f"--config=configs/stage_two.py:{size}@{pod}"]
        subprocess.run([*command, f"--topology={pod}", f"--output={path}"], check=False)
        if not path.exists():
            raise RuntimeError(f"no plan of {size} on {pod}")
        return json.loads(path.read_text())


def table(plans: dict[str, dict]) -> str:
    """The table, in Markdown."""
    lines = [
        "| model, pod | mesh | clips a step | GiB of a chip's | sent by a chip | rematerialised "
        "| roofline bound, s a step (MFU) | CPU time to compile |",
        "|-|-|-|-|-|-|-|-|",
    ]
    for name, found in plans.items():
        mesh = " x ".join(f"{axis} {size}" for axis, size in found["mesh"].items() if size > 1)
        sent = sum(kind["bytes"] for kind in (found["traffic"] or {}).values()) / _GIB
        again = found["hardware_flops"] / found["model_flops"] - 1
        bound = found["roofline"] and f"{found['step_seconds_bound']:.2f} ({found['roofline']['mfu_bound']:.0%})"
        lines.append(
            f"| {name} | {mesh} | {found['clips']} | {found['memory_total'] / _GIB:.1f} of "
            f"{found['capacity'] / _GIB:.0f}{'' if found['fits'] else ': does NOT fit'} | {sent:.0f} GiB | {again:.0%} "
            f"| {bound or '-'} | {found['compile_cpu_seconds']:.0f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="file to write the table into, between its markers")
    parser.add_argument("--only", action="append", help="a pod to plan; all when not given, none when empty")
    args = parser.parse_args()
    plans = json.loads(args.output.read_text())["plans"] if args.output.exists() else {}
    for size, pod in PODS:
        if args.only is None or pod in args.only:
            plans[f"{size}, {pod}"] = plan(size, pod)
    plans = {f"{size}, {pod}": plans[f"{size}, {pod}"] for size, pod in PODS if f"{size}, {pod}" in plans}
    machine = {"cpus": os.cpu_count(), "jax": jax.__version__}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"plans": plans, "machine": machine}, indent=2) + "\n")
    if args.page:
        publish(args.page, "plan_pods", table(plans))


if __name__ == "__main__":
    main()
