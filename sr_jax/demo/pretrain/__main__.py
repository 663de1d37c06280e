r"""Makes the demo's pretrained models anew, from nothing; the same command again goes on where it was stopped.

  python -m sr_jax.demo.pretrain --config configs/pretrain.py:small --output PRETRAINING

Renders clips of people, fits a codec, a face teacher and a face judge, prepares the records, trains the transformer,
f_S and f_ID with their variants and a structure judge, and samples and scores. Every step is one of the project's
commands; --dry_run prints them. At the end PRETRAINING/shipped holds the weights and the model card of
sr_jax/demo/pretrained.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.pretrain import KEYS
from sr_jax.declared.checking import check
from sr_jax.outputs import require_writable

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, "For example configs/pretrain.py:small.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder for everything.", flag_values=FLAGS)
flags.DEFINE_bool("dry_run", False, "Only print the commands.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "output"], flag_values=FLAGS)

SHIPPED = "shipped"
"""Folder of what goes into the package."""


def main(args: flags.FlagValues) -> None:
    """Runs what is left to do.

    Raises:
        UserError: For a config that is not as it is declared, or when a step fails.
    """
    check(KEYS, args.config)
    output = Path(args.output)
    require_writable(output)
    from sr_jax.demo.pretrain.plan import pretraining

    steps = pretraining(args.config, output)
    if args.dry_run:
        print("\n".join(step.command for step in steps))
        return
    from sr_jax.demo.pretrain.running import run_steps
    from sr_jax.demo.pretrained.shipping import ship

    run_steps(steps, output)
    ship(args.config, output, output / SHIPPED)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=lambda config: KEYS)
