r"""Prepares videos for training: cuts clips and turns them into records of latents and teachers' features.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=TEACHERS/faces

VIDEOS holds video files of any kind, at any depth; folders `train` and `test` in it, where there are any, become the
splits, and what lies beside them is bad input. With --config.clip.frames_fps, a folder of nothing but numbered pictures
is a video too. Beside `name.mp4` may lie `name.txt` (its caption), `name.depth.npz` or another form of its depth (see
sr_jax/teachers/depth/files.py), what teachers in config.features read (see sr_jax/teachers/beside.py) and `name.json`
(labels, kept for evaluation).

Bad input stops the run before anything is written (on_bad_input "stop"), or is passed over and named with its reason in
DATA/rejected.jsonl ("skip"): the config says which. The same command again finishes a preparation that was stopped.

The work can be shared: `--shard 0/4` to `--shard 3/4`, on one machine or on several that share the output folder, then
`--merge` once they are done. The result does not depend on how many shards there were.

Any config value can be set as --config.name=value. Teachers of further fields, such as tokens of a frozen encoder, are
named together (their keys are in configs/sections.py):

  ... --config.features="{'dinov2': {'name': 'dinov2', 'path': 'facebook/dinov2-base'}}"
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.configs.prepare import KEYS
from sr_jax.errors import UserError

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Clip size and teachers, for example configs/prepare.py:people.", flag_values=FLAGS
)
flags.DEFINE_string("input", None, "Folder of videos.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder of the dataset.", flag_values=FLAGS)
flags.DEFINE_string("shard", "", "Do only part i of n, given as i/n with i from 0.", flag_values=FLAGS)
flags.DEFINE_bool("merge", False, "Only merge what finished shards made.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "input", "output"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Prepares the videos in `--input` as `--config` describes."""
    # Here and not above: it takes seconds, and wrong flags are told before.
    from sr_jax.preparation.running import prepare
    from sr_jax.preparation.work import Shard

    if args.shard and args.merge:
        raise UserError("--shard and --merge exclude each other: merge when all shards are done")
    shard = Shard.parse(args.shard) if args.shard else None
    prepare(args.config, Path(args.input), Path(args.output), shard=shard, only_merge=args.merge)


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__, keys_of=lambda config: KEYS)
