r"""Runs the paper's ablations, or alignment objectives beside each other, from one start; the same command resumes.

  python -m sr_jax.ablate --config configs/ablate.py:cpu --suite paper --output OUTPUT --config.data.dir=DATA \
      --config.start=W0 --config.modules.clean=W1 --config.judges.structure=W_JUDGE ...

Suites: `paper`, its Tables 2 and 3; `objectives`, SemanticREPA, REPA, TRD, CREPA, LayerSync and none. Each row of each
seed is trained, sampled and scored by this project's own commands, in OUTPUT/ROW/seedN. Writes OUTPUT/results.json, all
numbers with what made them, and OUTPUT/report.html. See configs/ablate.py for all that is needed.
"""

import os
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.ablate import KEYS

CONFIG = "configs/ablate.py:cpu"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"Size and paths; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_enum("suite", None, ["paper", "objectives"], "Which rows.", flag_values=FLAGS, required=True)
flags.DEFINE_string("output", None, "Folder for everything.", flag_values=FLAGS, required=True)


def main(args: flags.FlagValues) -> None:
    """Runs a suite.

    Raises:
        UserError: As `suite.run_suite`.
    """
    # This process only reads shapes: the memory of the GPUs is for the rows.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.ablation.suite import run_suite

    run_suite(args.suite, args.config, Path(args.output))


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG, keys_of=lambda config: KEYS)
