r"""Plans sampling with CogVideoX-5B-I2V on slices of TPUs, and writes the table of docs/sampling.md.

  python -m benchmarks.plan_sampling --output benchmarks/results/plan_sampling.json --page docs/sampling.md

A clip has 49 frames of 480x720. Nothing runs: each program is compiled for devices that are not there, which takes
minutes. `--only "v5e:2x4, transformer"` compiles all whose names start so and keeps what the results file says of the
others; `--page` writes the table between its markers from that file.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import jax

from benchmarks.pages import publish
from sr_jax.configs.sample import get_config
from sr_jax.planning import sampling_report
from sr_jax.planning.sampling import PARTS, plan_sampling
from sr_jax.planning.topologies import get_topology, prepare

MODEL, CONFIG = "5b_i2v", "cogvideox"
TOPOLOGIES = ("v5e:2x4", "v5e:2x2", "v6e:2x2", "v5p:2x2x1")
CASES = [f"{topology}, {part}" for topology in TOPOLOGIES for part in PARTS]
_GIB = 2**30


def plan(case: str) -> dict[str, Any]:
    """What `python -m sr_jax.plan --sample` says of one part on one slice."""
    topology, _, part = case.partition(", ")
    config = get_config(CONFIG)
    # Untiled, the decoder alone needs more than a v5e has.
    config.codec.tiled = True
    return sampling_report.to_json(plan_sampling(config, MODEL, get_topology(topology), (part,)))


def table(plans: dict[str, dict[str, Any]]) -> str:
    """The table in Markdown: GiB of a chip while each part runs."""
    lines = [f"| slice | {' | '.join(PARTS)} | of | |", f"|-|{'-|' * len(PARTS)}-|-|"]
    for topology in TOPOLOGIES:
        found = [plans.get(f"{topology}, {part}") for part in PARTS]
        if None in found:
            continue
        cells = [f"{plan['totals'][part] / _GIB:.1f}" for plan, part in zip(found, PARTS, strict=True)]
        answer = "fits" if all(plan["fits"] for plan in found) else "does not fit"
        lines.append(f"| {topology} | {' | '.join(cells)} | {found[0]['capacity'] / _GIB:.0f} | {answer} |")
    return "\n".join(lines)


def main() -> None:
    """Compiles what is asked for, and writes the result after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="file to write the table into, between its markers")
    parser.add_argument("--only", action="append", help="start of the names of what to compile; all when not given")
    args = parser.parse_args()
    # Before JAX starts.
    prepare(TOPOLOGIES[0])
    plans = json.loads(args.output.read_text())["plans"] if args.output.exists() else {}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if args.only is None or case.startswith(tuple(args.only)):
            plans[case] = plan(case)
            print(case, json.dumps(plans[case]["totals"]), flush=True)
            plans = {name: plans[name] for name in CASES if name in plans}
            machine = {"cpus": os.cpu_count(), "jax": jax.__version__}
            args.output.write_text(json.dumps({"plans": plans, "machine": machine}, indent=2) + "\n")
    if args.page:
        publish(args.page, "plan_sampling", table(plans))


if __name__ == "__main__":
    main()
