r"""Plans stage two with one alignment objective at a time, and writes the table of docs/alignment.md of what each adds.

  python -m benchmarks.plan_objectives --output benchmarks/results/plan_objectives.json --page docs/alignment.md

FLOPs, parameters and sizes are counted. Each plan is a `python -m sr_jax.plan` of its own, one after the other, on the
smallest pod that the released size is planned for. `--only repa` plans one and keeps what the results file says of the
others; `--page` writes the table between its markers from that file.
"""

import argparse
import ast
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax

from benchmarks.pages import publish
from sr_jax.configs import stage_two_all
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.planning.planner import NOISY_IMAGES, described_stage_one
from sr_jax.training import builders
from sr_jax.training.program import record_spec

CONFIG, TOPOLOGY = "configs/stage_two_all.py:5b_i2v@v5p:2x2x4", "v5p:2x2x4"
PLAIN = "plain fine-tuning"
OBJECTIVES: dict[str, dict[str, str]] = {
    PLAIN: {},
    "structure": {"structure.weight": "0.01"},
    "structure and identity": {"structure.weight": "0.01", "identity.weight": "1.0"},
    "repa": {"repa.weight": "0.5"},
    "repa as iREPA": {"repa.weight": "1.0", "repa.projector": "conv", "repa.spatial_norm": "True"},
    "trd": {"trd.weight": "0.5"},
    "crepa": {"crepa.weight": "0.5"},
    "layersync": {"layersync.weight": "0.2"},
    "all but the paper's": {
        "repa.weight": "0.5",
        "trd.weight": "0.5",
        "crepa.weight": "0.5",
        "layersync.weight": "0.2",
    },
}
"""What each plan changes in `config.alignment`, where all weights are 0: the published weights."""


def counted(changes: dict[str, str]) -> dict[str, int]:
    """What needs no compiler: FLOPs of a clip, parameters beside the transformer, and bytes of tokens in a record."""
    config = stage_two_all.get_config(CONFIG.partition(":")[2])
    config.update_from_flattened_dict({f"alignment.{key}": _value(text) for key, text in changes.items()})
    stage = builders.build_stage(config, described_stage_one(config))
    records = record_spec(config, stage, noisy_images=NOISY_IMAGES)
    trained = [module.abstract_params() for name, module in stage.modules.items() if name != "transformer"]
    tokens = (math.prod(shape) for name, shape in records.array_shapes().items() if name not in CORE_FIELDS)
    return {
        "flops": stage.work(records.latent_shape[:3], records.text_shape[0]).flops,
        "trained": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(trained)),
        # Records are float16.
        "record_bytes": 2 * sum(tokens),
    }


def _value(text: str) -> Any:
    """A config value as the command line gives it."""
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


def plan(changes: dict[str, str]) -> dict:
    """Runs one plan; what it found, as `sr_jax.plan --output` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        options = [f"--config.alignment.{key}={value}" for key, value in changes.items()]
        command = [sys.executable, "-m", "sr_jax.plan", f"--config={CONFIG}", f"--topology={TOPOLOGY}", *options]
        subprocess.run([*command, f"--output={path}"], check=False)
        if not path.exists():
            raise RuntimeError(f"no plan with {changes}")
        return json.loads(path.read_text())


def table(found: dict[str, dict[str, dict]]) -> str:
    """The table in Markdown: what each objective adds to plain fine-tuning; a dash where nothing is planned."""
    count, plans = found["counted"], found["plans"]
    lines = [
        "| objective | TFLOPs a clip | more | trained beside | tokens a record | GiB a chip | more |",
        "|-|-|-|-|-|-|-|",
    ]
    for name, item in count.items():
        more = (item["flops"] - count[PLAIN]["flops"]) / 1e12
        memory, before = (plans[key]["memory_total"] / 2**30 if key in plans else None for key in (name, PLAIN))
        lines.append(
            f"| {name} | {item['flops'] / 1e12:,.1f} | {more:.2f} ({item['flops'] / count[PLAIN]['flops'] - 1:.2%}) "
            f"| {item['trained'] / 1e6:.1f} M | {item['record_bytes'] / 2**20:.1f} MiB "
            f"| {'-' if memory is None else f'{memory:.2f}'} "
            f"| {'-' if memory is None or before is None else f'{memory - before:+.2f}'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="file to write the table into, between its markers")
    parser.add_argument("--only", action="append", help="an objective to plan; all when not given, none when empty")
    args = parser.parse_args()
    plans = json.loads(args.output.read_text())["plans"] if args.output.exists() else {}
    found = {
        "counted": {name: counted(changes) for name, changes in OBJECTIVES.items()},
        "plans": plans,
        "machine": {"cpus": os.cpu_count(), "jax": jax.__version__},
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    for name, changes in OBJECTIVES.items():
        if args.only is None or name in args.only:
            plans[name] = plan(changes)
            args.output.write_text(json.dumps(found, indent=2) + "\n")
    args.output.write_text(json.dumps(found, indent=2) + "\n")
    if args.page:
        publish(args.page, "plan_objectives", table(found))


if __name__ == "__main__":
    main()
