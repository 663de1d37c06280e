r"""Fits a codec and the small face teacher on labelled clips, and measures them on held-out people.

  python -m sr_jax.demo.fit_teachers --config configs/teachers.py:people --videos VIDEOS --output TEACHERS
  python -m sr_jax.demo.fit_teachers --config configs/teachers.py:people --videos VIDEOS --output JUDGE \
      --config.parts=faces --config.seed=1

VIDEOS holds train/ and test/ as `python -m sr_jax.demo.people` writes them. Writes TEACHERS/codec.npz (the linear
codec, which is fitted in closed form) or TEACHERS/codec.safetensors (the learned one, of configs/teachers.py:small),
TEACHERS/faces/{detector,recogniser}.safetensors and TEACHERS/metrics.json. With --config.parts=faces the codec of
--config.codec.path is taken; without one the linear codec is fitted again, which always gives the same one, but not
written. Networks that were stopped in between are trained from there on by the same command.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.teachers import KEYS
from sr_jax.outputs import require_writable

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, "For example configs/teachers.py:people.", flag_values=FLAGS)
flags.DEFINE_string("videos", None, "Folder with train/ and test/ of labelled clips.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder to write.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "videos", "output"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Fits, writes and measures.

    Raises:
        UserError: As `fit_teachers`, and at once when nothing can be written to `--output`.
    """
    require_writable(Path(args.output))
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.demo.fit_teachers.fitting import fit_teachers

    fit_teachers(args.config, Path(args.videos), Path(args.output))


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=lambda config: KEYS)
