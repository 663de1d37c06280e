"""From a config to all that a preparation needs: codec, teachers, plans of the videos."""

import functools
from pathlib import Path

import ml_collections

from sr_jax.backbones import load_codec
from sr_jax.errors import UserError
from sr_jax.media.shots import ShotOptions
from sr_jax.preparation.captions import CaptionTable
from sr_jax.preparation.dataset import Preparation
from sr_jax.preparation.features import FeatureExtractor
from sr_jax.preparation.framing import ClipOptions, DropOptions, Size
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.people import PersonOptions, load_finder
from sr_jax.preparation.planning import Planner
from sr_jax.preparation.preview import clip_look
from sr_jax.preparation.reading import ClipReader
from sr_jax.teachers.base import FeatureTeacher
from sr_jax.teachers.depth.features import DepthFeatures
from sr_jax.teachers.faces.features import FaceFeatures
from sr_jax.teachers.registry import (
    depth_colours,
    load_depth_teacher,
    load_face_teacher,
    load_feature_teacher,
    load_text_teacher,
)
from sr_jax.teachers.text.features import TextFeatures

_CORE_TEACHERS = ("depth", "faces", "text")


def make_preparation(config: ml_collections.ConfigDict, source: Path, output: Path, *, strict: bool) -> Preparation:
    """Loads the teachers and finds the videos.

    Args:
        config: See `configs/prepare.py`.
        source: Folder of videos.
        output: Folder of the dataset.
        strict: Whether a bad video is an error.

    Raises:
        UserError: For teachers that cannot be loaded, or an input folder without videos.
    """
    further = config.features.to_dict()
    for name in _CORE_TEACHERS:
        if name in further:
            raise UserError(f"config.features.{name} has the name of another section: give the teacher another one")
    table = CaptionTable.read(config.captions, source)
    files = find_videos(
        source,
        table.files,
        ("depth", *further),
        frame_folders=config.clip.frames_fps > 0,
        still_images=config.clip.still_images,
    )
    captions = table.match(source, [file.path for file in files if file.claims_video])
    if strict:
        for file in files:
            if file.problem and file.claims_video:
                raise UserError(file.problem)
        table.require_all_used(captions)
    depth, colours = load_depth_teacher(config.depth.to_dict()), depth_colours(config.depth)
    faces = load_face_teacher(config.faces.to_dict())
    codec, text = load_codec(config.codec.to_dict()), load_text_teacher(config.text.to_dict())
    # These may read something beside videos.
    beside: dict[str, FeatureTeacher] = {
        "depth": DepthFeatures(depth, colours),
        **{name: load_feature_teacher(name, section) for name, section in further.items()},
    }
    teachers = beside | {"faces": FaceFeatures(faces, boxes=config.face_boxes), "text": TextFeatures(text)}
    clip = config.clip
    sizes = (Size(clip.height, clip.width), *(Size(*size) for size in clip.more_sizes))
    clips = ClipOptions(
        clip.num_frames, clip.fps, clip.stride, sizes, clip.frames_fps, clip.still_images, tuple(clip.more_frames)
    )
    person = PersonOptions(**config.person)
    planner = Planner(
        clip=clips,
        shots=ShotOptions(**config.shots),
        person=person,
        drop=DropOptions(**config.drop),
        finder=load_finder(person, faces.detector),
        teachers=beside,
        captions=captions,
        default_prompt=config.default_prompt,
        strict=strict,
        cut=text.cut,
    )
    extractors = {
        kind: FeatureExtractor(
            codec=codec,
            teachers=teachers,
            num_frames=kind.num_frames or clip.num_frames,
            fps=clip.fps,
            height=kind.size.height,
            width=kind.size.width,
            noisy_images=config.noisy_images,
            seed=config.seed,
        )
        for kind in clips.kinds
    }
    return Preparation(
        output=output,
        files=files,
        planner=planner,
        reader=ClipReader(beside),
        extractors=extractors,
        empty_prompt=text([""])[0],
        look=functools.partial(clip_look, detector=faces.detector, colours=colours, fps=clip.fps),
        fps=clip.fps,
        batch_size=config.batch_size,
        keep_clips=config.keep_clips,
        table=table.path,
        unused_captions=captions.unused,
    )
