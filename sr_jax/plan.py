r"""Says whether a training run compiles and fits on devices that you need not have, and how fast it can be at best.

  python -m sr_jax.plan --config configs/stage_two.py:5b_i2v --topology v5p:2x2x4
  python -m sr_jax.plan --config configs/stage_two.py:tiny   --topology cpu:8 --config.mesh.fsdp=2
  python -m sr_jax.plan --config configs/stage_two.py:5b_i2v --topology rtx4090 --config.batch_size=1 \
      --config.lora.rank=64 --config.lora.base_type=int8 --config.frozen_dtype=bfloat16

It compiles the very step that `python -m sr_jax.train` runs with the same config, and allocates none of its arrays.
Topologies are slices of TPUs (v5e, v5p, v6e, with the chips along each axis; they need the extra `tpu`), `local` for
the devices that are there, or `cpu:N` for N virtual ones. For GPUs that are not there (rtx4090, a10g, h100, h200, with
a count where there are several: h100:8) nothing can be compiled: their memory is added up, an estimate
(docs/scaling.md). It reads no dataset: records are of the sizes that `config.model` names. Frozen modules are those of
the workdirs that the config names, without their weights, or else those that it describes, with the empty prompt as
their text.

With --search, when the run does not fit, it tries changes one after the other, the least first, until one fits.

Exit code 0: it fits, if need be with the change that --search found (or nobody knows the memory of these devices).
1: it does not fit. 2: bad input.
"""

import json
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.training import keys_of

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Which stage and size, for example configs/stage_two.py:5b_i2v.", flag_values=FLAGS
)
flags.DEFINE_string("topology", None, "Devices, for example v5p:2x2x4, h100:8, local or cpu:8.", flag_values=FLAGS)
flags.DEFINE_bool("search", False, "Look for a change that fits.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSON file to write what was found to.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "topology"], flag_values=FLAGS)

_DOES_NOT_FIT = 1


def main(args: flags.FlagValues) -> None:
    """Plans what `--config` describes on `--topology`."""
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.planning import report, topologies
    from sr_jax.planning.estimate import estimate
    from sr_jax.planning.planner import plan
    from sr_jax.planning.search import flags as flags_of
    from sr_jax.planning.search import search

    topologies.prepare(args.topology)
    topology = topologies.get_topology(args.topology)
    planner = estimate if topology.estimated else plan
    found, change = planner(args.config, topology), {}
    print(report.to_text(found))
    if found.fits is False and args.search:
        print("\nLooking for a change that fits")
        change, found = search(args.config, found, lambda config: planner(config, topology), print)
        print(f"\n{report.to_text(found)}\nWith {flags_of(change)}" if change else "Nothing helps.")
    elif found.fits is False:
        print("--search looks for the nearest change that fits.")
    if args.output:
        path = Path(args.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report.to_json(found) | {"change": change}, indent=2) + "\n")
    if found.fits is False:
        sys.exit(_DOES_NOT_FIT)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=keys_of)
