r"""Trains one stage; the same command again resumes it, also when workdir, data or other workdirs were moved.

  python -m sr_jax.train --config configs/base.py:tiny      --workdir W0 --config.data.dir=DATA
  python -m sr_jax.train --config configs/stage_one.py:tiny --workdir W1 --config.data.dir=DATA \
      --config.init.transformer=W0
  python -m sr_jax.train --config configs/stage_two.py:tiny --workdir W2 --config.data.dir=DATA \
      --config.init.transformer=W0 --config.alignment.structure.module=W1 --config.alignment.identity.module=W1

To go on with another batch size, learning rate, schedule or number of steps, name the keys that change; optimizer, step
and place in the data are kept:

  ... --config.batch_size=16 --config.resume.allow=batch_size

Any config value can be set as --config.name=value. On several machines start it once on each, with the same flags: TPU
pods and Slurm steps are recognised, elsewhere --coordinator, --num_processes and --process_id say who is who (or
JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID).

Exit codes: 0, done; 2, bad input, and 3, training has diverged, which are not worth trying again; 75, told to stop
(SIGTERM), with a checkpoint saved, and 76, a process hung, after which the same command goes on.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.training import keys_of

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Which stage and size, for example configs/base.py:tiny.", flag_values=FLAGS
)
flags.DEFINE_string("workdir", None, "Folder for checkpoints and logs.", flag_values=FLAGS)
flags.DEFINE_string("coordinator", None, "host:port of process 0.", flag_values=FLAGS)
flags.DEFINE_integer("num_processes", None, "How many processes the run has.", flag_values=FLAGS)
flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Trains the stage that `--config` describes."""
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.parallel import processes
    from sr_jax.training.held_out_loss import make_held_out_loss
    from sr_jax.training.loop import train
    from sr_jax.training.sample_clips import make_sample_clips

    processes.initialize(args.coordinator, args.num_processes, args.process_id)
    with processes.falling_together():
        train(args.config, Path(args.workdir), hooks=[make_held_out_loss, make_sample_clips])


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=keys_of)
