r"""Fits the judge of body parts on rendered people, and measures it on held-out ones.

  python -m sr_jax.demo.people --output VIDEOS --split train --clips 400
  python -m sr_jax.demo.people --output VIDEOS --split test --clips 64
  python -m sr_jax.demo.body_parts --config configs/body_parts.py:people --videos VIDEOS --output JUDGE

Writes JUDGE/body_parts.safetensors, which `evaluate` takes as --config.body_parts.path, and JUDGE/metrics.json.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.body_parts import KEYS
from sr_jax.outputs import require_writable

CONFIG = "configs/body_parts.py:people"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"How to fit; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_string("videos", None, "Folder with train/ and test/ of rendered people.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder to write.", flag_values=FLAGS)
flags.mark_flags_as_required(["videos", "output"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Fits, writes and measures.

    Raises:
        UserError: As `fit_body_parts`, and at once when nothing can be written to `--output`.
    """
    require_writable(Path(args.output))
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.demo.body_parts.fitting import fit_body_parts

    fit_body_parts(args.config, Path(args.videos), Path(args.output))


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG, keys_of=lambda config: KEYS)
