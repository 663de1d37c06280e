r"""Looks for why an alignment loss does what it does: at a run, with the modules of stage one.

  python -m sr_jax.diagnose --config configs/stage_two.py:tiny --output diagnosis.json \
      --config.data.dir=DATA --config.init.transformer=RUN \
      --config.alignment.structure.module=W1 --config.alignment.identity.module=W1

RUN is the workdir of a base run or of a stage two. Two things are measured on held-out clips, by share of noise: how
much of the depth f_S explains in the clean latent that RUN predicts (z0_hat), and how far f_ID keeps people apart in
it; and how long the gradients of the losses are, and how they lie to each other.
"""

import json
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.training import keys_of
from sr_jax.errors import UserError
from sr_jax.outputs import require_writable, write_text

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Of a stage two, for example configs/stage_two.py:tiny.", flag_values=FLAGS
)
flags.DEFINE_string("output", None, "JSON file to write.", flag_values=FLAGS)
flags.DEFINE_string("split", "test", "Whose clips are read.", flag_values=FLAGS)
flags.DEFINE_integer("clips", 128, "Clips that the modules read.", flag_values=FLAGS, lower_bound=1)
flags.DEFINE_integer("batches", 8, "Batches whose gradients are taken.", flag_values=FLAGS, lower_bound=1)
flags.mark_flags_as_required(["config", "output"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Measures, and writes the file.

    Raises:
        UserError: When it cannot be written, and as `readings.read_modules` and `gradients.measure_gradients`.
    """
    output = Path(args.output)
    if output.suffix != ".json" or output.is_dir():
        raise UserError(f"--output {output} must be a file that ends in .json")
    require_writable(output.parent)
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.ablation.gradients import measure_gradients
    from sr_jax.ablation.readings import read_modules

    config = args.config
    result = {
        "config": json.loads(config.to_json()),
        "clips": args.clips,
        "batches": args.batches,
        "readings": read_modules(config, args.split, clips=args.clips),
        "gradients": measure_gradients(config, args.split, batches=args.batches),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=keys_of)
