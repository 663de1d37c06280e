"""Fitting and measuring the demo's codec and face teacher from one config."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_collections
import numpy as np
from jaxtyping import UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.configs.teachers import KEYS
from sr_jax.declared.checking import check
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.fit_teachers.faces import FitSchedule, face_examples, fit_detector, fit_recogniser
from sr_jax.demo.fit_teachers.quality import codec_metrics, face_metrics
from sr_jax.demo.fit_teachers.round_trip import codec_round_trip
from sr_jax.demo.labelled_clips import LabelledClips, read_labelled_clips
from sr_jax.demo.small_faces.detector import FaceDetectorConfig
from sr_jax.demo.small_faces.teacher import DETECTOR_FILE, RECOGNISER_FILE, FaceRecogniserConfig, load_small_faces
from sr_jax.demo.small_faces.weights import save_network
from sr_jax.models.functional import Params
from sr_jax.outputs import write_text
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth.colours import DepthColours
from sr_jax.teachers.registry import depth_colours, load_depth_teacher


def fit_teachers(config: ml_collections.ConfigDict, videos: Path, output: Path) -> dict[str, float | int | str]:
    """Fits on `videos/train`, writes the teachers to `output`, and measures them on `videos/test`.

    Args:
        config: See `configs/teachers.py`.
        videos: Folder with `train` and `test`, labelled clips, and what the depth teacher reads.
        output: Folder to write.

    Returns:
        The metrics, as written to `output/metrics.json`.

    Raises:
        UserError: For a config that is not as it is declared, or videos that are missing, unlabelled or of unlike
            sizes.
    """
    check(KEYS, config)
    start = time.monotonic()
    depth_teacher, colours = load_depth_teacher(config.depth), depth_colours(config.depth)
    train, test = (read_labelled_clips(videos / split) for split in ("train", "test"))
    depth = _coloured_depth(depth_teacher, colours, videos / "train", train)
    codec = fit_linear_codec([(1.0, train.frames), (config.depth_weight, depth)], **config.codec)
    if config.parts != "faces":
        codec.save(output / "codec.npz")
    if config.parts != "codec":
        _fit_faces(config, train, codec, output / "faces")
    test_depth = _coloured_depth(depth_teacher, colours, videos / "test", test)
    both = np.concatenate([test.frames, test_depth])
    decoded, decoded_depth = np.split(codec_round_trip(both, codec, latent_noise=0.0, seed=0), 2)
    metrics = codec_metrics(test.frames, decoded, test_depth, decoded_depth)
    if config.parts != "codec":
        metrics |= face_metrics(load_small_faces(output / "faces"), test, decoded)
    metrics |= {"seed": config.seed, "codec_hash": codec.weight_hash, "seconds": round(time.monotonic() - start, 1)}
    write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    logging.info("\n".join(f"{name}: {value}" for name, value in metrics.items()))
    return metrics


def _fit_faces(config: ml_collections.ConfigDict, train: LabelledClips, codec: VideoCodec, folder: Path) -> None:
    """Fits the detector and the recogniser, and writes both to `folder`."""
    examples = face_examples(train, codec, latent_noise=config.latent_noise, seed=config.seed)
    detector = FaceDetectorConfig(**config.detector, frame_height=train.frames.shape[2])
    recogniser = FaceRecogniserConfig(**config.recogniser)

    def detect() -> Params:
        return fit_detector(examples, detector, FitSchedule(**config.detector_schedule), seed=config.seed)

    def recognise() -> Params:
        schedule = FitSchedule(**config.recogniser_schedule)
        return fit_recogniser(examples, recogniser, schedule, **config.margin_loss, seed=config.seed)

    # Side by side: networks this small do not keep more than one core busy.
    with ThreadPoolExecutor() as pool:
        detector_params, recogniser_params = (
            future.result() for future in (pool.submit(detect), pool.submit(recognise))
        )
    save_network(folder / DETECTOR_FILE, detector, detector_params)
    save_network(folder / RECOGNISER_FILE, recogniser, recogniser_params)


def _coloured_depth(
    teacher: DepthTeacher, colours: DepthColours, folder: Path, clips: LabelledClips
) -> UInt8[np.ndarray, "n f h w 3"]:
    """The coloured depth of each clip."""
    paths = [folder / f"{name}.mp4" for name in clips.names]
    disparities = (teacher(frames, clips.fps, path) for frames, path in zip(clips.frames, paths))
    return np.stack([colours.colour(colours.normalise(disparity)) for disparity in disparities])
