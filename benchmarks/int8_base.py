r"""Trains the same LoRA on a base in bfloat16 and on one in int8, from the same start, and compares their losses.

  python -m benchmarks.int8_base --data demo_output/data --workdir int8_base

`--data` is a dataset of the size `tiny`, such as `launch/demo.sh` prepares. First a transformer is trained from nothing
(`--base_steps`), whose kernels then are no longer what they started as; both LoRAs adapt it. Clips, times and noise of
a step are the same in both. Writes benchmarks/results/int8_base.json: both curves, and the ratio of their means and of
every ten steps. Run again with the same `--workdir`, it goes on where it was. A few minutes on two idle cores.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.configs import base
from sr_jax.training.loop import train

RESULT = Path(__file__).parent / "results" / "int8_base.json"
BASES = {"bfloat16": {"frozen_dtype": "bfloat16"}, "int8": {"frozen_dtype": "bfloat16", "lora.base_type": "int8"}}
_WINDOW = 10
_LORA = {"lora.rank": 8, "lora.alpha": 8.0, "optimizer.learning_rate": 1e-3}


def main() -> None:
    """Trains the three runs, and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="dataset")
    parser.add_argument("--workdir", type=Path, required=True, help="folder for the three runs")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--base_steps", type=int, default=100, help="steps of the transformer's own training")
    parser.add_argument("--steps", type=int, default=100, help="steps of each LoRA")
    parser.add_argument("--batch_size", type=int, default=4)
    options = parser.parse_args()
    shared = {"data.dir": options.data, "batch_size": options.batch_size, "log_every": 1, "mesh.data": 1}
    shared |= {"heldout.every_steps": 0, "samples.every_steps": 0}
    shared |= {"optimizer.name": "adamw", "optimizer.schedule": "constant", "optimizer.warmup_steps": 5}
    _train(options.workdir / "base", shared | {"num_train_steps": options.base_steps})
    start = {"init.transformer": str(options.workdir / "base"), "num_train_steps": options.steps}
    curves = {name: _train(options.workdir / name, shared | _LORA | start | changes) for name, changes in BASES.items()}
    found = {"base_steps": options.base_steps, "batch_size": options.batch_size} | summary(curves)
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "losses"}, indent=2))


def summary(curves: dict[str, list[float]]) -> dict[str, Any]:
    """Both curves and their ratios, int8 to bfloat16: of the means, of windows, and of the steps that differ most."""
    losses = {name: [round(value, 6) for value in curve] for name, curve in curves.items()}
    ours, theirs = (np.asarray(losses[name]) for name in ("int8", "bfloat16"))
    whole = len(ours) - len(ours) % _WINDOW
    windows = ours[:whole].reshape(-1, _WINDOW).mean(axis=1) / theirs[:whole].reshape(-1, _WINDOW).mean(axis=1)
    ratio = ours / theirs
    return {
        "steps": len(ours),
        "ratio_of_means": round(float(ours.mean() / theirs.mean()), 5),
        "ratio_of_windows": [round(float(value), 5) for value in windows],
        "least_and_largest_ratio_of_a_step": [round(float(ratio.min()), 5), round(float(ratio.max()), 5)],
        "losses": losses,
    }


def _train(workdir: Path, changes: dict[str, Any]) -> list[float]:
    """The losses of all steps of a run of the base stage."""
    config = base.get_config("tiny")
    config.update_from_flattened_dict(changes)
    train(config, workdir)
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    return [losses[step] for step in sorted(losses)]


if __name__ == "__main__":
    main()
