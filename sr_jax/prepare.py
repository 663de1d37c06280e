r"""Prepares videos for training: cuts clips and turns them into records of latents and teachers' features.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=TEACHERS/faces

VIDEOS holds video files, at any depth; folders `train` and `test` in it, where there are any, become the splits. Beside
`name.mp4` may lie `name.txt` (its caption), `name.depth.npz` (its depth, see sr_jax/teachers/depth.py) and `name.json`
(labels, kept for evaluation). Everything is checked before anything is written.

The same command again finishes a preparation that was stopped. Any config value can be set as --config.name=value.
"""

import functools
from pathlib import Path

import ml_collections
import tqdm
from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.errors import UserError
from sr_jax.preparation.dataset import make_dataset
from sr_jax.preparation.features import ClipReader, FeatureExtractor
from sr_jax.preparation.inputs import check_input
from sr_jax.teachers.registry import load_codec, load_depth_teacher, load_face_teacher, load_text_teacher

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Clip size and teachers, for example configs/prepare.py:people.", flag_values=FLAGS
)
flags.DEFINE_string("input", None, "Folder of videos.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder of the dataset.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "input", "output"], flag_values=FLAGS)


def main(args: flags.FlagValues) -> None:
    """Prepares the videos in `--input` as `--config` describes."""
    prepare(args.config, Path(args.input), Path(args.output))


def prepare(config: ml_collections.ConfigDict, source: Path, output: Path) -> None:
    """Makes the dataset `output` of the videos in `source`; see `configs/prepare.py` for the config.

    Raises:
        UserError: For bad input, before anything is written, or when `output` was begun with other input or settings.
    """
    if output.resolve().is_relative_to(source.resolve()):
        raise UserError(f"the output {output} lies in the input {source}: choose another output folder")
    depth = load_depth_teacher(config.depth.to_dict())
    clip = config.clip
    extractor = FeatureExtractor(
        codec=load_codec(config.codec.to_dict()),
        depth=depth,
        faces=load_face_teacher(config.faces.to_dict()),
        text=load_text_teacher(config.text.to_dict()),
        num_frames=clip.num_frames,
        fps=clip.fps,
        height=clip.height,
        width=clip.width,
        noisy_images=config.noisy_images,
        seed=config.seed,
    )
    plans = check_input(
        source,
        depth=depth,
        default_prompt=config.default_prompt,
        fps=clip.fps,
        clip_frames=clip.num_frames,
        stride=clip.stride,
        progress=functools.partial(tqdm.tqdm, desc="checking", unit="video"),
    )
    with tqdm.tqdm(total=len(plans), desc="preparing", unit="clip") as bar:
        make_dataset(
            output,
            plans=plans,
            reader=ClipReader(depth, height=clip.height, width=clip.width),
            extractor=extractor,
            fps=clip.fps,
            batch_size=config.batch_size,
            keep_clips=config.keep_clips,
            progress=bar.update,
        )
    print(f"{output} holds {len(plans)} clips")


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__)
