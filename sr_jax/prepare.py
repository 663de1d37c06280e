r"""Prepares videos for training: cuts clips and turns them into records of latents and teachers' features.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=TEACHERS/faces

VIDEOS holds video files of any kind, at any depth; folders `train` and `test` in it, where there are any, become the
splits, and what lies beside them is bad input. Beside `name.mp4` may lie `name.txt` (its caption), `name.depth.npz` or
another form of its depth (see sr_jax/teachers/depth/files.py) and `name.json` (labels, kept for evaluation).

Bad input stops the run before anything is written (on_bad_input "stop"), or is passed over and named with its reason in
DATA/rejected.jsonl ("skip"): the config says which. The same command again finishes a preparation that was stopped.

The work can be shared: `--shard 0/4` to `--shard 3/4`, on one machine or on several that share the output folder, then
`--merge` once they are done. The result does not depend on how many shards there were.

Any config value can be set as --config.name=value.
"""

from pathlib import Path
from typing import Any

import ml_collections
import tqdm
from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.backbones import load_codec
from sr_jax.data.builder import MANIFEST_FILE
from sr_jax.errors import UserError
from sr_jax.media.shots import ShotOptions
from sr_jax.outputs import require_writable
from sr_jax.preparation.captions import CaptionTable
from sr_jax.preparation.dataset import Preparation, make_shard, plan_shard
from sr_jax.preparation.features import FeatureExtractor
from sr_jax.preparation.framing import DropOptions, Size
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.merging import complete_summary, merge
from sr_jax.preparation.people import PersonOptions, make_finder
from sr_jax.preparation.planning import ClipOptions, Planner
from sr_jax.preparation.reading import ClipReader
from sr_jax.preparation.summary import Summary
from sr_jax.preparation.work import Shard
from sr_jax.teachers.registry import (
    depth_colours,
    load_depth_teacher,
    load_face_teacher,
    load_text_teacher,
)

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "Clip size and teachers, for example configs/prepare.py:people.", flag_values=FLAGS
)
flags.DEFINE_string("input", None, "Folder of videos.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder of the dataset.", flag_values=FLAGS)
flags.DEFINE_string("shard", "", "Do only part i of n, given as i/n with i from 0.", flag_values=FLAGS)
flags.DEFINE_bool("merge", False, "Only merge what finished shards made.", flag_values=FLAGS)
flags.mark_flags_as_required(["config", "input", "output"], flag_values=FLAGS)

_ON_BAD_INPUT = ("stop", "skip")


def main(args: flags.FlagValues) -> None:
    """Prepares the videos in `--input` as `--config` describes."""
    if args.shard and args.merge:
        raise UserError("--shard and --merge exclude each other: merge when all shards are done")
    shard = Shard.parse(args.shard) if args.shard else None
    prepare(args.config, Path(args.input), Path(args.output), shard=shard, only_merge=args.merge)


def prepare(
    config: ml_collections.ConfigDict,
    source: Path,
    output: Path,
    *,
    shard: Shard | None = None,
    only_merge: bool = False,
) -> None:
    """Makes the dataset `output` of the videos in `source`; see `configs/prepare.py` for the config.

    Args:
        config: What to make.
        source: Folder of videos.
        output: Folder of the dataset.
        shard: Make only this part of the features, and no dataset.
        only_merge: Make only the dataset, of features that are all there.

    Raises:
        UserError: For bad input (where that is not passed over, before anything is written), or when `output` was begun
            with other input or settings or cannot be written.
    """
    if output.resolve().is_relative_to(source.resolve()):
        raise UserError(f"the output {output} lies in the input {source}: choose another output folder")
    if config.on_bad_input not in _ON_BAD_INPUT:
        raise UserError(f"config.on_bad_input is {config.on_bad_input!r}: it must be stop or skip")
    # A dataset that is complete may lie where nothing can be written.
    if not (output / MANIFEST_FILE).exists():
        require_writable(output)
    strict = config.on_bad_input == "stop"
    preparation = make_preparation(config, source, output, strict=strict)
    summary = complete_summary(preparation)
    if summary is None and not only_merge:
        part = shard or Shard()
        videos = sum(len(group) for group in preparation.work.groups[part.index :: part.count])
        plans = {}
        if strict:
            with _Bar(videos, "checking") as bar:
                plans = plan_shard(preparation, part, bar)
        with _Bar(videos, "preparing") as bar:
            make_shard(preparation, part, bar, plans)
    if shard is not None and summary is None:
        print(f"shard {shard.index}/{shard.count} is done: run --merge when all are")
        return
    _report(output, summary or merge(preparation))


def make_preparation(config: ml_collections.ConfigDict, source: Path, output: Path, *, strict: bool) -> Preparation:
    """Loads the teachers and finds the videos.

    Raises:
        UserError: For teachers that cannot be loaded, or an input folder without videos.
    """
    captions = CaptionTable.read(config.captions, source)
    files = find_videos(source, captions.files)
    if strict:
        for file in files:
            if file.problem and file.claims_video:
                raise UserError(file.problem)
    depth, colours = load_depth_teacher(config.depth.to_dict()), depth_colours(config.depth)
    faces = load_face_teacher(config.faces.to_dict())
    codec, text = load_codec(config.codec.to_dict()), load_text_teacher(config.text.to_dict())
    clip = config.clip
    sizes = (Size(clip.height, clip.width), *(Size(*size) for size in clip.more_sizes))
    person = PersonOptions(**config.person)
    planner = Planner(
        clip=ClipOptions(clip.num_frames, clip.fps, clip.stride, sizes),
        shots=ShotOptions(**config.shots),
        person=person,
        drop=DropOptions(**config.drop),
        finder=make_finder(person, faces.detector),
        depth=depth,
        captions=captions,
        default_prompt=config.default_prompt,
        strict=strict,
    )
    extractors = {
        size: FeatureExtractor(
            codec=codec,
            depth=depth,
            faces=faces,
            text=text,
            num_frames=clip.num_frames,
            fps=clip.fps,
            height=size.height,
            width=size.width,
            noisy_images=config.noisy_images,
            seed=config.seed,
            colours=colours,
        )
        for size in sizes
    }
    return Preparation(
        output=output,
        files=files,
        planner=planner,
        reader=ClipReader(depth, colours),
        extractors=extractors,
        detector=faces.detector,
        colours=colours,
        fps=clip.fps,
        batch_size=config.batch_size,
        keep_clips=config.keep_clips,
    )


class _Bar:
    """A bar over videos that also says how many clips a second are made."""

    def __init__(self, videos: int, what: str):
        self._bar = tqdm.tqdm(total=videos, desc=what, unit="video")
        self._clips = 0

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, videos: int, clips: int) -> Any:
        self._clips += clips
        seconds = self._bar.format_dict["elapsed"]
        if self._clips:
            text = f"{self._clips} clips, {self._clips / max(seconds, 1e-3):.2f} clips/s"
            self._bar.set_postfix_str(text, refresh=not videos)
        self._bar.update(videos)


def _report(output: Path, summary: Summary) -> None:
    print(f"{output} holds {summary.clips.total()} clips")
    for line in summary.lines():
        print(f"  {line}")


if __name__ == "__main__":
    command_line.run(main, FLAGS, __doc__)
