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

With --sample it plans `python -m sr_jax.sample` instead, of a released transformer by its name or of a checkpoint, with
a config of configs/sample.py:

  python -m sr_jax.plan --sample 5b_i2v --config configs/sample.py:cogvideox --topology v5e:2x4 \
      --config.codec.tiled=True

With --search, when the run does not fit, it tries changes one after the other, the least first, until one fits.

Exit code 0: it fits, if need be with the change that --search found (or nobody knows the memory of these devices).
1: it does not fit. 2: bad input.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs import sample, training
from sr_jax.declared.keys import Keys
from sr_jax.errors import UserError

if TYPE_CHECKING:
    from sr_jax.planning.topologies import Topology

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Which stage and size, for example configs/stage_two.py:5b_i2v.", flag_values=FLAGS
)
flags.DEFINE_string("topology", None, "Devices, for example v5p:2x2x4, h100:8, local or cpu:8.", flag_values=FLAGS)
flags.DEFINE_string(
    "sample", None, "Plan sampling: of a released transformer (5b_i2v) or a checkpoint.", flag_values=FLAGS
)
flags.DEFINE_bool("search", False, "Look for a change that fits.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "JSON file to write what was found to.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "topology"], flag_values=FLAGS)

_DOES_NOT_FIT = 1


def keys_of(config: ml_collections.ConfigDict) -> Keys:
    """The keys of a config of training, or of sampling, which names no stage."""
    return training.keys_of(config) if "stage" in config else sample.KEYS


def main(args: flags.FlagValues) -> None:
    """Plans what `--config` describes on `--topology`.

    Raises:
        UserError: For flags that do not go together, and as the functions it calls.
    """
    if (args.sample is None) != ("stage" in args.config):
        raise UserError("--sample goes with a config of configs/sample.py, and any other config with a training run")
    if args.sample is not None and args.search:
        raise UserError("--search looks for changes of a training run: leave it out with --sample")
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.planning import topologies

    topologies.prepare(args.topology)
    topology = topologies.get_topology(args.topology)
    if args.sample is not None and topology.estimated:
        raise UserError(f"--sample is compiled, and nothing can be for {args.topology}: name a slice of TPUs, or local")
    found, fits = (_training if args.sample is None else _sampling)(args, topology)
    if args.output:
        path = Path(args.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n")
    if fits is False:
        sys.exit(_DOES_NOT_FIT)


def _training(args: flags.FlagValues, topology: "Topology") -> tuple[dict[str, Any], bool | None]:
    """What was found, for a file, and whether it fits."""
    from sr_jax.planning import report
    from sr_jax.planning.estimate import estimate
    from sr_jax.planning.planner import plan
    from sr_jax.planning.search import flags as flags_of
    from sr_jax.planning.search import search

    planner = estimate if topology.estimated else plan
    found, change = planner(args.config, topology), {}
    print(report.to_text(found))
    if found.fits is False and args.search:
        print("\nLooking for a change that fits")
        change, found = search(args.config, found, lambda config: planner(config, topology), print)
        print(f"\n{report.to_text(found)}\nWith {flags_of(change)}" if change else "Nothing helps.")
    elif found.fits is False:
        print("--search looks for the nearest change that fits.")
    return report.to_json(found) | {"change": change}, found.fits


def _sampling(args: flags.FlagValues, topology: "Topology") -> tuple[dict[str, Any], bool | None]:
    from sr_jax.planning.sampling import plan_sampling
    from sr_jax.planning.sampling_report import to_json, to_text

    found = plan_sampling(args.config, args.sample, topology)
    print(to_text(found))
    return to_json(found), found.fits


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=keys_of)
