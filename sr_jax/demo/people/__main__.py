"""Renders clips of people with exact depth, captions and labels; the same command again finishes what is missing.

  python -m sr_jax.demo.people --output VIDEOS --split train --clips 400
  python -m sr_jax.demo.people --output VIDEOS --split test --clips 64

Writes VIDEOS/SPLIT/NAME.mp4 and beside each NAME.depth.npz (key `depth`: metres, one value a pixel), NAME.parts.npz
(key `parts`: numbers of body parts, one a pixel), NAME.txt (the caption) and NAME.json (labels). No person of one split
is in the other; every second test clip shows a motion that the training split never shows. More clips, or another seed,
are more of the same kind.
"""

from pathlib import Path

from absl import flags

from sr_jax import command_line
from sr_jax.demo.people.kinds import FRAMINGS, SPLITS

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", None, "Folder to write to.", flag_values=FLAGS)
flags.DEFINE_enum("split", "train", SPLITS, "Which people and motions.", flag_values=FLAGS)
flags.DEFINE_integer("clips", 400, "Number of clips.", lower_bound=1, upper_bound=1_000_000, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "Another seed gives other clips.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("height", 64, "Height in pixels.", lower_bound=16, flag_values=FLAGS)
flags.DEFINE_integer("width", 48, "Width in pixels.", lower_bound=16, flag_values=FLAGS)
flags.DEFINE_integer("frames", 13, "Frames of a clip.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("fps", 24.0, "Frames a second.", lower_bound=0.1, flag_values=FLAGS)
_MIXED = "mixed"
flags.DEFINE_enum(
    "framing",
    _MIXED,
    [_MIXED, *(name.replace(" ", "_") for name in FRAMINGS)],
    "How much of a person is seen; mixed: drawn for each clip.",
    flag_values=FLAGS,
)
flags.DEFINE_enum("motions", "all", ["all", "violent"], "All motions, or the fast and large ones.", flag_values=FLAGS)
flags.mark_flag_as_required("output", flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Renders the clips that are not there yet."""
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.demo.people.pool import render_clips

    render_clips(
        Path(args.output) / args.split,
        args.split,
        clips=args.clips,
        seed=args.seed,
        size=(args.height, args.width),
        num_frames=args.frames,
        fps=args.fps,
        framing=None if args.framing == _MIXED else args.framing.replace("_", " "),
        violent_only=args.motions == "violent",
    )


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__)
