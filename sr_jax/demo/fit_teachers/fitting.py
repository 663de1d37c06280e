"""Fitting and measuring the demo's codec and face teacher from one config."""

import json
import logging
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_collections
import numpy as np
from jaxtyping import UInt8

from sr_jax.backbones import load_codec
from sr_jax.backbones.codec import VideoCodec
from sr_jax.configs.sections import LINEAR_CODEC
from sr_jax.configs.teachers import KEYS
from sr_jax.declared.checking import check
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.fit_teachers.descent import FitSchedule
from sr_jax.demo.fit_teachers.faces import face_examples, fit_detector, fit_recogniser
from sr_jax.demo.fit_teachers.quality import codec_metrics, face_metrics
from sr_jax.demo.fit_teachers.round_trip import codec_round_trip
from sr_jax.demo.fit_teachers.small_codec import fit_small_codec
from sr_jax.demo.labelled_clips import LabelledClips, read_labelled_clips
from sr_jax.demo.small_codec.codec import SmallVideoCodec
from sr_jax.demo.small_codec.network import SmallCodecConfig
from sr_jax.demo.small_faces.detector import FaceDetectorConfig
from sr_jax.demo.small_faces.teacher import DETECTOR_FILE, RECOGNISER_FILE, FaceRecogniserConfig, load_small_faces
from sr_jax.demo.small_faces.weights import save_network
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.outputs import write_text
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth.colours import DepthColours
from sr_jax.teachers.registry import depth_colours, load_depth_teacher

_PROGRESS = "progress"
"""Folder of what goes on where it was stopped; removed when done."""


def fit_teachers(config: ml_collections.ConfigDict, videos: Path, output: Path) -> dict[str, float | int | str]:
    """Fits on `videos/train`, writes the teachers to `output`, and measures them on `videos/test`.

    Args:
        config: See `configs/teachers.py`.
        videos: Folder with `train` and `test`, labelled clips, and what the depth teacher reads.
        output: Folder to write.

    Returns:
        The metrics, as written to `output/metrics.json`.

    Raises:
        UserError: For a config that is not as it is declared, videos that are missing, unlabelled or of unlike sizes,
            or a codec that cannot be read.
    """
    check(KEYS, config)
    start = time.monotonic()
    depth = _ColouredDepth(load_depth_teacher(config.depth), depth_colours(config.depth))
    train = read_labelled_clips(videos / "train", config.clips)
    test = read_labelled_clips(videos / "test")
    if config.codec.path:
        codec = load_codec({"name": config.codec.name, "path": config.codec.path})
    else:
        codec = _fit_codec(config, train, depth(videos / "train", train), output)
    if config.parts != "codec":
        _fit_faces(config, train, codec, output / "faces")
    test_depth = depth(videos / "test", test)
    both = np.concatenate([test.frames, test_depth])
    decoded, decoded_depth = np.split(codec_round_trip(both, codec, latent_noise=0.0, seed=0), 2)
    metrics = codec_metrics(test.frames, decoded, test_depth, decoded_depth)
    if config.parts != "codec":
        metrics |= face_metrics(load_small_faces(output / "faces"), test, decoded)
    metrics |= {"seed": config.seed, "codec_hash": codec.weight_hash, "seconds": round(time.monotonic() - start, 1)}
    write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    logging.info("\n".join(f"{name}: {value}" for name, value in metrics.items()))
    return metrics


def _fit_codec(
    config: ml_collections.ConfigDict, train: LabelledClips, depth: UInt8[np.ndarray, "n f h w 3"], output: Path
) -> VideoCodec:
    """Fits the codec that the config names, and writes it unless only faces are wanted."""
    videos, sizes = [(1.0, train.frames), (config.depth_weight, depth)], config.codec.to_dict()
    name = sizes.pop("name")
    del sizes["path"]
    if name == LINEAR_CODEC:
        codec = fit_linear_codec(videos, **sizes)
        if config.parts != "faces":
            codec.save(output / "codec.npz")
        return codec
    if config.parts == "faces":
        raise UserError("the learned codec is fitted once: name its file with config.codec.path")
    network = SmallCodecConfig(**sizes, **config.codec_network)
    progress_file = output / _PROGRESS / "codec.npz"
    params = fit_small_codec(
        videos,
        network,
        FitSchedule(**config.codec_schedule),
        latent_noise=config.codec_noise,
        seed=config.seed,
        progress_file=progress_file,
    )
    save_network(output / "codec.safetensors", network, params)
    shutil.rmtree(progress_file.parent)
    # As it is stored, rounded.
    return SmallVideoCodec.load(output / "codec.safetensors")


def _fit_faces(config: ml_collections.ConfigDict, train: LabelledClips, codec: VideoCodec, folder: Path) -> None:
    """Fits the detector and the recogniser, and writes both to `folder`."""
    examples = face_examples(train, codec, latent_noise=config.latent_noise, seed=config.seed)
    detector = FaceDetectorConfig(**config.detector, frame_height=train.frames.shape[2])
    recogniser = FaceRecogniserConfig(**config.recogniser)
    progress = folder.parent / _PROGRESS

    def detect() -> Params:
        schedule = FitSchedule(**config.detector_schedule)
        return fit_detector(examples, detector, schedule, seed=config.seed, progress_file=progress / "detector.npz")

    def recognise() -> Params:
        schedule = FitSchedule(**config.recogniser_schedule)
        options = config.margin_loss.to_dict() | {"progress_file": progress / "recogniser.npz"}
        return fit_recogniser(examples, recogniser, schedule, **options, seed=config.seed)

    # Side by side: networks this small do not keep more than one core busy.
    with ThreadPoolExecutor() as pool:
        detector_params, recogniser_params = (
            future.result() for future in (pool.submit(detect), pool.submit(recognise))
        )
    save_network(folder / DETECTOR_FILE, detector, detector_params)
    save_network(folder / RECOGNISER_FILE, recogniser, recogniser_params)
    shutil.rmtree(progress)


class _ColouredDepth:
    """What a depth teacher sees in clips, in colours."""

    def __init__(self, teacher: DepthTeacher, colours: DepthColours):
        self._teacher, self._colours = teacher, colours

    def __call__(self, folder: Path, clips: LabelledClips) -> UInt8[np.ndarray, "n f h w 3"]:
        """The coloured depth of the clips of a folder."""
        coloured = np.empty_like(clips.frames)
        for index, (name, frames) in enumerate(zip(clips.names, clips.frames, strict=True)):
            disparity = self._teacher(frames, clips.fps, folder / f"{name}.mp4")
            coloured[index] = self._colours.colour(self._colours.normalise(disparity))
        return coloured
