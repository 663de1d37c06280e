"""Clips whose people are known: videos with a label file beside each, for fitting small teachers and testing them."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sr_jax.errors import UserError
from sr_jax.media.video import read_video


class LabelledClips(NamedTuple):
    """N clips of the same length and size, with one person in each.

    Attributes:
        names: Names of the video files, without their suffix.
        frames: RGB.
        fps: Frames a second.
        face_boxes: Corners x0, y0, x1, y1 in pixels; meaningless where the face is not visible.
        face_visible: Whether a frame shows the face.
        identities: Who it is, one string a clip.
    """

    names: Sequence[str]
    frames: UInt8[np.ndarray, "n f h w 3"]
    fps: float
    face_boxes: Float[np.ndarray, "n f 4"]
    face_visible: Bool[np.ndarray, "n f"]
    identities: Sequence[str]


def read_labelled_clips(folder: Path, most: int = 0) -> LabelledClips:
    """Reads every `NAME.mp4` of a folder with its `NAME.json`, or the first `most` of them by name.

    A label file holds `identity`, `face_boxes` (one `[x0, y0, x1, y1]` a frame) and `face_visible` (one boolean a
    frame), as `sr_jax.demo.people` writes them.

    Raises:
        UserError: If there are no videos, one cannot be read, one has no labels, or they differ in length or size.
    """
    videos = sorted(folder.glob("*.mp4"))[: most or None]
    if not videos:
        raise UserError(f"no .mp4 files in {folder}: render some with python -m sr_jax.demo.people")
    with ThreadPoolExecutor() as pool:
        frames, rates = zip(*pool.map(read_video, videos))
    for path, clip in zip(videos, frames):
        if clip.shape != frames[0].shape:
            raise UserError(
                f"{path} has {_size(clip)}, but {videos[0].name} has {_size(frames[0])}: all clips must be alike"
            )
    labels = [_read_labels(path, len(clip)) for path, clip in zip(videos, frames)]
    identities, boxes, visible = zip(*labels)
    names = [path.stem for path in videos]
    return LabelledClips(names, np.stack(frames), rates[0], np.stack(boxes), np.stack(visible), identities)


def _read_labels(video: Path, num_frames: int) -> tuple[str, np.ndarray, np.ndarray]:
    path = video.with_suffix(".json")
    if not path.is_file():
        raise UserError(f"{video} has no labels: {path.name} must lie beside it")
    try:
        labels = json.loads(path.read_text())
        boxes = np.asarray(labels["face_boxes"], np.float32)
        visible = np.asarray(labels["face_visible"], bool)
        identity = str(labels["identity"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} needs identity, face_boxes and face_visible: {error}") from error
    if boxes.shape != (num_frames, 4) or visible.shape != (num_frames,):
        raise UserError(f"{path} labels {len(boxes)} frames, but {video.name} has {num_frames}")
    return identity, boxes, visible


def _size(clip: np.ndarray) -> str:
    return f"{clip.shape[0]} frames of {clip.shape[1]}x{clip.shape[2]}"
