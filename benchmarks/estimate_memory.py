r"""Estimates of memory: beside the compiler's figures for TPUs, and of a LoRA of 5B-I2V on GPUs of 16 and 24 GB.

  python -m benchmarks.estimate_memory --output benchmarks/results/estimate_memory.json --page docs/scaling.md

Nothing is compiled: the TPU compiler's figures are those of `benchmarks/results/plan_pods.json`, and of the LoRA's plan
that `--compile` makes (minutes) and the results file keeps. `--page` writes the tables between their markers.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ml_collections

from benchmarks.pages import publish
from sr_jax.configs import stage_two
from sr_jax.configs.pods import PODS
from sr_jax.planning import topologies

_GIB = 2**30
_PODS = Path(__file__).parent / "results/plan_pods.json"

LORA = {
    "lora.rank": 64, "optimizer.name": "adamw", "optimizer.learning_rate": 1e-4, "frozen_dtype": "bfloat16",
}  # fmt: skip
INT8 = {"lora.base_type": "int8"}
PLAIN = {"alignment.structure.weight": 0.0, "alignment.identity.weight": 0.0}
RUNS = {
    "LoRA, int8": LORA | INT8 | PLAIN,
    "SemanticREPA with a LoRA, int8": LORA | INT8,
    "LoRA, bfloat16": LORA | PLAIN,
}
"""What is changed of `configs/stage_two.py:5b_i2v`, one clip a step."""

COMPILED_LORA = "5b_i2v LoRA, int8", "v5p:2x2x1", RUNS["LoRA, int8"]
"""What is compiled for the comparison: a clip on each of the smallest slice's four chips, which share nothing."""
_APART = {"batch_size": 4, "mesh.data": 4, "mesh.fsdp": 1}

CLIPS = (
    (17, 480, 720), (33, 480, 720), (49, 320, 480), (49, 480, 720), (81, 480, 720), (49, 720, 1280), (81, 720, 1280),
)  # fmt: skip
"""Frames, height and width."""

CARDS = {"16 GB": 16 * _GIB, "24 GB": 24 * _GIB}
REMATS = ("block", "offload")


def config_of(run: dict[str, Any]) -> ml_collections.ConfigDict:
    """The config of a run, with one clip a step unless it says otherwise."""
    config = stage_two.get_config("5b_i2v")
    config.update_from_flattened_dict({"batch_size": 1, "mesh.fsdp": 1} | run)
    return config


def tokens(clip: tuple[int, int, int]) -> int:
    """Tokens of a clip and its text: patches of 2 x 2 latent pixels, each of 8 x 8 pixels, every fourth frame."""
    frames, height, width = clip
    return 226 + ((frames - 1) // 4 + 1) * math.ceil(height / 16) * math.ceil(width / 16)


def compile_lora() -> dict[str, Any]:
    """Plans `COMPILED_LORA`; what `sr_jax.plan --output` writes."""
    _, topology, run = COMPILED_LORA
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        flags = [f"--config.{name}={value}" for name, value in (run | _APART).items()]
        command = [sys.executable, "-m", "sr_jax.plan", "--config=configs/stage_two.py:5b_i2v"]
        subprocess.run([*command, f"--topology={topology}", f"--output={path}", *flags], check=True)
        return json.loads(path.read_text())


def compared(compiled_lora: dict[str, Any] | None) -> dict[str, dict[str, int]]:
    """Bytes of a chip, compiled and estimated, by model and topology."""
    from sr_jax.planning.estimate import estimate

    plans = json.loads(_PODS.read_text())["plans"]
    cases = {f"{size}, {pod}": (stage_two.get_config(f"{size}@{pod}"), pod) for size, pod in PODS}
    compiled = {name: plans[name]["memory_total"] for name in cases}
    if compiled_lora is not None:
        name, topology, run = COMPILED_LORA
        cases[f"{name}, {topology}"] = config_of(run | _APART), topology
        compiled[f"{name}, {topology}"] = compiled_lora["memory_total"]
    found = {}
    for name, (config, topology) in cases.items():
        estimated = estimate(config, topologies.get_topology(topology)).memory.total
        found[name] = {"compiled": compiled[name], "estimated": estimated}
    return found


def on_gpus() -> dict[str, dict[str, dict[str, int]]]:
    """Bytes of one GPU, estimated, by run, clip and policy."""
    from sr_jax.planning.estimate import at_size, estimate

    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, run in RUNS.items():
        whole = estimate(config_of(run), topologies.get_topology("rtx4090"))
        found[name] = {
            "x".join(map(str, clip)): {remat: at_size(whole, tokens(clip), remat).memory.total for remat in REMATS}
            for clip in CLIPS
        }
    return found


def compared_table(found: dict[str, dict[str, int]]) -> str:
    """Compiled and estimated, in Markdown."""
    lines = ["| model, topology | compiled, GiB a chip | estimated | difference |", "|-|-|-|-|"]
    for name, sizes in found.items():
        compiled, estimated = sizes["compiled"], sizes["estimated"]
        lines.append(f"| {name} | {compiled / _GIB:.1f} | {estimated / _GIB:.1f} | {estimated / compiled - 1:+.1%} |")
    return "\n".join(lines)


def gpu_table(found: dict[str, dict[str, dict[str, int]]]) -> str:
    """What fits which card, in Markdown: a row for each clip, with `remat` "block" and then "offload"."""
    names = list(found)
    lines = [f"| frames x height x width | {' | '.join(names)} |", "|-" * (1 + len(names)) + "|"]
    for clip in found[names[0]]:
        cells = (", ".join(_cell(found[name][clip][remat]) for remat in REMATS) for name in names)
        lines.append(f"| {clip} | {' | '.join(cells)} |")
    return "\n".join(lines)


def card_for(need: int) -> str:
    """The smallest card that it fits; empty where none of them does."""
    return next((card for card, size in CARDS.items() if need <= topologies.GPU_FRACTION * size), "")


def _cell(need: int) -> str:
    return f"{need / _GIB:.1f} ({card_for(need) or 'more'})"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="file to write the tables into, between their markers")
    parser.add_argument("--compile", action="store_true", help="compile the LoRA's step for a TPU once more")
    args = parser.parse_args()
    before = json.loads(args.output.read_text()) if args.output.exists() else {}
    lora = compile_lora() if args.compile else before.get("compiled_lora")
    topologies.prepare("v5p:2x2x4")
    results = {"compared": compared(lora), "gpus": on_gpus(), "compiled_lora": lora}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=2) + "\n")
    if args.page:
        publish(args.page, "estimate_memory", compared_table(results["compared"]))
        publish(args.page, "gpu_memory", gpu_table(results["gpus"]))


if __name__ == "__main__":
    main()
