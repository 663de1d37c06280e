r"""Generates clips from a first frame and a prompt, with a trained checkpoint or with released weights.

One clip:
  python -m sr_jax.sample --checkpoint W2 --image face.png --prompt "a woman waves" --output clip.mp4 \
      --config.codec.path=TEACHERS/codec.npz

One clip with released weights (see configs/sample.py):
  python -m sr_jax.sample --config configs/sample.py:cogvideox --checkpoint MODEL --image face.png \
      --prompt "a woman waves" --output clip.mp4

All clips of a dataset's split, from their first frames and captions:
  python -m sr_jax.sample --checkpoint W2 --data DATA --split test --output SAMPLES \
      --config.codec.path=TEACHERS/codec.npz

With --data the same command again continues where it stopped. Two runs with the same seed use the same noise for the
same clip.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.sample import KEYS
from sr_jax.errors import UserError
from sr_jax.outputs import require_writable

CONFIG = "configs/sample.py:people"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"How to sample; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_string(
    "checkpoint", None, "Workdir of a base or stage two run, or an import.", flag_values=FLAGS, required=True
)
flags.DEFINE_string("base", "", "What a LoRA run adapts, where that was moved and is not found.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "The mp4 file (one clip) or folder to write.", flag_values=FLAGS, required=True)
flags.DEFINE_string("image", None, "First frame of one clip: a PNG or JPEG file.", flag_values=FLAGS)
flags.DEFINE_string("prompt", None, "What happens in the one clip.", flag_values=FLAGS)
flags.DEFINE_string("data", None, "A prepared dataset: generate the clips of one of its splits.", flag_values=FLAGS)
flags.DEFINE_string("split", "test", "Which split of --data.", flag_values=FLAGS)
flags.DEFINE_integer("limit", None, "Only the first so many clips of --data.", flag_values=FLAGS, lower_bound=1)


def main(args: flags.FlagValues) -> None:
    """Generates what the flags ask for.

    Raises:
        UserError: For flags that do not go together, an output that cannot be written, and as the functions it calls.
    """
    config, checkpoint, output = args.config, Path(args.checkpoint), Path(args.output)
    if (args.data is None) == (args.image is None) or (args.image is None) != (args.prompt is None):
        raise UserError("give either --image with --prompt, or --data")
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.data.builder import open_dataset
    from sr_jax.generation.generator import generate_one, generate_split, load_generator
    from sr_jax.media.images import read_image

    if args.image is not None:
        if output.suffix != ".mp4" or output.is_dir():
            raise UserError(f"--output {output} must be a file that ends in .mp4 for one clip")
        # Before the model, which may take minutes to load.
        image = read_image(Path(args.image))
        require_writable(output.parent)
        config.batch_size = 1
        generate_one(load_generator(checkpoint, config, base=args.base), image, args.prompt, output)
    else:
        data = Path(args.data)
        # Only to tell of a wrong name before the model is loaded.
        open_dataset(data, args.split)
        require_writable(output)
        generator = load_generator(checkpoint, config, data, base=args.base)
        generate_split(generator, data, args.split, output, limit=args.limit)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG, keys_of=lambda config: KEYS)
