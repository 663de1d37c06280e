r"""Lays out the pretrained models as what the other commands take: files of weights, and workdirs of training runs.

  python -m sr_jax.demo.pretrained --output PRETRAINED

Writes PRETRAINED/codec.safetensors, PRETRAINED/teacher/ and PRETRAINED/judge/ (the face teacher and the face judge),
and the workdirs PRETRAINED/transformer, modules (f_S and f_ID), structure_judge, noisy_structure and flat_identity (f_S
of noisy latents and f_ID without depth, the paper's ablations). Workdirs that are there are kept. `card.json` beside
the weights in the package tells what made them and how good they are.
"""

from pathlib import Path

from absl import flags

from sr_jax import command_line
from sr_jax.outputs import require_writable

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "Folder to write.", flag_values=FLAGS)
flags.mark_flag_as_required("output", flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Writes what is missing.

    Raises:
        UserError: When nothing can be written there, or the package lacks its weights.
    """
    output = Path(args.output)
    require_writable(output)
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.demo.pretrained.packing import lay_out

    lay_out(output)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__)
