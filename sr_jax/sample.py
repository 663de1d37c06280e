r"""Generates clips from a first frame and a prompt, with a trained checkpoint or with released weights.

One clip:
  python -m sr_jax.sample --checkpoint W2 --image face.png --prompt "a woman waves" --output clip.mp4 \
      --config.codec.path=TEACHERS/codec.npz

One clip with released weights (see configs/sample.py):
  python -m sr_jax.sample --config configs/sample.py:cogvideox --checkpoint MODEL --image face.png \
      --prompt "a woman waves" --output clip.mp4

Many clips, each with its image and prompt on a line of a file, JSON Lines or CSV (see docs/sampling.md):
  python -m sr_jax.sample --config configs/sample.py:cogvideox --checkpoint MODEL --prompts clips.jsonl --output CLIPS

All clips of a dataset's split, from their first frames and captions:
  python -m sr_jax.sample --checkpoint W2 --data DATA --split test --output SAMPLES \
      --config.codec.path=TEACHERS/codec.npz

--frames makes clips that are longer than the model's, as config.long says. Sampling takes all devices of this machine,
as config.mesh and config.sharding say. With --data and --prompts the same command again continues where it stopped. Two
runs with the same seed use the same noise for the same clip.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.sample import KEYS
from sr_jax.errors import UserError
from sr_jax.outputs import require_writable

if TYPE_CHECKING:
    from sr_jax.generation.generator import Generator

CONFIG = "configs/sample.py:people"
"""The config when none is given."""

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", None, f"How to sample; {CONFIG} when not given.", flag_values=FLAGS)
flags.DEFINE_string(
    "checkpoint", None, "Workdir of a base or stage two run, or an import.", flag_values=FLAGS, required=True
)
flags.DEFINE_integer("step", None, "Which checkpoint of the run; the newest when not given.", flag_values=FLAGS)
flags.DEFINE_string("base", "", "What a LoRA run adapts, where that was moved and is not found.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "The mp4 file (one clip) or folder to write.", flag_values=FLAGS, required=True)
flags.DEFINE_string("image", None, "First frame of one clip: a PNG or JPEG file.", flag_values=FLAGS)
flags.DEFINE_string("prompt", None, "What happens in the one clip.", flag_values=FLAGS)
flags.DEFINE_string("negative_prompt", "", "What clips should not show; counts with guidance.", flag_values=FLAGS)
flags.DEFINE_string("prompts", None, "A .jsonl or .csv file of images and prompts.", flag_values=FLAGS)
flags.DEFINE_integer(
    "frames", None, "Frames of a clip that is longer than the model's.", flag_values=FLAGS, lower_bound=1
)
flags.DEFINE_string("data", None, "A prepared dataset: generate the clips of one of its splits.", flag_values=FLAGS)
flags.DEFINE_string("split", "test", "Which split of --data.", flag_values=FLAGS)
flags.DEFINE_integer("limit", None, "Only the first so many clips of --data.", flag_values=FLAGS, lower_bound=1)


def main(args: flags.FlagValues) -> None:
    """Generates what the flags ask for.

    Raises:
        UserError: For flags that do not go together, an output that cannot be written, and as the functions it calls.
    """
    given = [name for name in ("image", "prompts", "data") if args[name].value is not None]
    if len(given) != 1 or (args.image is None) != (args.prompt is None):
        raise UserError("give either --image with --prompt, or --prompts, or --data")
    if args.frames is not None:
        args.config.long.frames = args.frames
    if args.config.long.frames and args.data is not None:
        raise UserError("--frames goes with --image or --prompts: clips of --data are as long as the dataset's")
    {"image": _one, "prompts": _many, "data": _split}[given[0]](args)


def _one(args: flags.FlagValues) -> None:
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.generation.generator import generate_one
    from sr_jax.media.images import read_image

    output = Path(args.output)
    if output.suffix != ".mp4" or output.is_dir():
        raise UserError(f"--output {output} must be a file that ends in .mp4 for one clip")
    # Before the model, which may take minutes to load.
    image = read_image(Path(args.image))
    require_writable(output.parent)
    args.config.batch_size = 1
    generate_one(_load(args), image, args.prompt, output)


def _many(args: flags.FlagValues) -> None:
    from sr_jax.generation.many import generate_requests
    from sr_jax.generation.prompt_file import read_requests

    requests = read_requests(Path(args.prompts), negative_prompt=args.negative_prompt, seed=args.config.seed)
    require_writable(Path(args.output))
    generate_requests(_load(args), requests, Path(args.output))


def _split(args: flags.FlagValues) -> None:
    from sr_jax.data.builder import open_dataset
    from sr_jax.generation.generator import generate_split

    data, output = Path(args.data), Path(args.output)
    # Only to tell of a wrong name before the model is loaded.
    open_dataset(data, args.split)
    require_writable(output)
    generate_split(_load(args, data), data, args.split, output, limit=args.limit)


def _load(args: flags.FlagValues, data: Path | None = None) -> "Generator":
    from sr_jax.generation import generator

    options = {"step": args.step, "base": args.base, "negative_prompt": args.negative_prompt}
    return generator.load_generator(Path(args.checkpoint), args.config, data, **options)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, config=CONFIG, keys_of=lambda config: KEYS)
