r"""Large copies in the compiled training step: what a TPU moves, or computes again, without need of the method.

  python -m benchmarks.plan_copies --config configs/stage_two.py:5b_i2v@v5p:2x2x4 --topology v5p:2x2x4 \
      --output benchmarks/results/plan_copies.json

Compiles the step ahead of time, as `python -m sr_jax.plan` does, and lists the arrays of 100 MB or more on a device
that come out of a copy or a transposition, or that XLA's own rematerialisation computes a second time, with the line of
JAX that they are of and how often a step runs them. What lies inside of a fusion costs no memory: what it returns
counts, where it is named after a copy or a transposition. Beside them, the cycles that the compiler expects of all it
compiled itself: products and fusions, not attention's kernels nor what is sent meanwhile.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from sr_jax.configs import stage_two
from sr_jax.parallel import mesh as meshes
from sr_jax.planning import hlo
from sr_jax.planning.planner import NOISY_IMAGES, described_stage_one
from sr_jax.planning.topologies import get_topology, prepare
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec

LEAST_BYTES = 100_000_000
_MOVES = re.compile(r"copy|transpose")
_SOURCE = re.compile(r'op_name="([^"]*)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


def compiled_text(config: Any, topology_name: str) -> str:
    """The program of a train step for a topology, as text."""
    topology = get_topology(topology_name)
    mesh = meshes.make_mesh(config.mesh.to_dict(), topology.devices)
    stage = builders.build_stage(config, described_stage_one(config))
    program = build_program(config, mesh, stage)
    records = record_spec(config, stage, noisy_images=NOISY_IMAGES)
    batch = abstract_batch(records, stage, config.batch_size, mesh)
    return program.train_step.trace(program.state, program.frozen, batch).lower().compile().as_text()


def large_moves(text: str, least: int = LEAST_BYTES) -> list[dict[str, Any]]:
    """Copies, transpositions and rematerialised arrays of so many bytes, the costliest first.

    Args:
        text: Of a compiled program.
        least: Bytes of an array that counts.
    """
    found = Counter()
    for item, runs in _executed(hlo.parse(text)):
        kind = _kind(item)
        largest = max((array.bytes for array in item.result if array.in_hbm), default=0)
        if kind and largest >= least:
            source = _SOURCE.search(item.text)
            shape = item.text.partition(" ")[0] if not item.text.startswith("(") else "several"
            found[kind, shape, largest, source[1] if source else ""] += runs
    lines = [
        {"kind": kind, "shape": shape, "bytes": size, "runs": count, "of": source}
        for (kind, shape, size, source), count in found.items()
    ]
    return sorted(lines, key=lambda line: -line["bytes"] * line["runs"])


def estimated_cycles(text: str) -> int:
    """Of a compiled program's own instructions, by the compiler's cost model, as often as each runs."""
    found = [(_CYCLES.search(item.text), runs) for item, runs in _executed(hlo.parse(text))]
    return sum(int(cycles[1]) * runs for cycles, runs in found if cycles)


def _executed(program: hlo.Program) -> Iterator[tuple[hlo.Instruction, int]]:
    """What is no part of a fusion, and how often it runs."""
    runs = program.executions()
    instructions = [item for computation in program.computations.values() for item in computation.values()]
    fused = {called for item in instructions if item.opcode == "fusion" for called in item.called}
    for name, computation in program.computations.items():
        if name not in fused and runs[name]:
            yield from ((item, runs[name]) for item in computation.values())


def _kind(item: hlo.Instruction) -> str | None:
    if item.opcode == "copy-done" or item.opcode == "copy-start":
        # Between memories: what offloading or a prefetch asks for.
        return None
    if ".remat" in item.name:
        return "rematerialised"
    moves = item.opcode in ("copy", "transpose") or (item.opcode == "fusion" and _MOVES.search(item.name))
    return "moved" if moves else None


def main() -> None:
    """Compiles one step, and writes what was found beside what the results file says of others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/stage_two.py:5b_i2v@v5p:2x2x4", help="of a stage two")
    parser.add_argument("--topology", default="v5p:2x2x4")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    # Before JAX starts.
    prepare(args.topology)
    _, _, size = args.config.partition(":")
    plans = json.loads(args.output.read_text())["plans"] if args.output.exists() else {}
    text = compiled_text(stage_two.get_config(size), args.topology)
    moves = large_moves(text)
    plans[args.config] = {
        "bytes": sum(line["bytes"] * line["runs"] for line in moves),
        "estimated_cycles": estimated_cycles(text),
        "moves": moves,
    }
    args.output.write_text(json.dumps({"plans": plans, "jax": jax.__version__}, indent=1) + "\n")
    print(f"{plans[args.config]['bytes'] / 1e9:.0f} GB, {plans[args.config]['estimated_cycles'] / 1e9:.2f} G cycles")
    for line in moves:
        print(f"{line['kind']:<16}{line['bytes'] / 1e6:8.0f} MB x {line['runs']:<4} {line['shape']}  {line['of']}")


if __name__ == "__main__":
    main()
