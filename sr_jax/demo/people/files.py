"""Writes a rendered clip to disk as a user's own video would be: a video with files of the same name beside it."""

import io
import json
from pathlib import Path

import numpy as np

from sr_jax.demo.people.clips import Clip
from sr_jax.errors import UserError
from sr_jax.media.video import write_video
from sr_jax.outputs import replacing


def write_clip(video: Path, clip: Clip, fps: float, settings: dict) -> None:
    """Writes `NAME.mp4` and beside it `NAME.depth.npz`, `NAME.parts.npz`, `NAME.txt` and `NAME.json`.

    The depth file holds `depth`, metres, float32 `[F, H, W]`; the file of parts `parts`, uint8 `[F, H, W]`, numbers of
    `parts.PARTS`; the text file the caption; the JSON file the labels and the settings. Each file appears complete or
    not at all, the video last: where there is a video, there is everything.

    Args:
        video: Path of the video; its folder must exist.
        clip: What to write.
        fps: Frames a second.
        settings: What the clip was made from, for `is_written` to compare.
    """
    labels = clip._asdict()
    for name in ("frames", "depth", "parts", "caption"):
        del labels[name]
    labels["face_boxes"] = np.round(clip.face_boxes, 2).tolist()
    labels["face_visible"] = clip.face_visible.tolist()
    _write(video.with_suffix(".json"), json.dumps({**labels, "settings": settings}, indent=1).encode())
    _write(video.with_suffix(".txt"), f"{clip.caption}\n".encode())
    for name in ("depth", "parts"):
        array = io.BytesIO()
        np.savez_compressed(array, **{name: getattr(clip, name)})
        _write(video.with_suffix(f".{name}.npz"), array.getvalue())
    # Lossless: at this size chroma at half resolution would blur eyes and lips.
    write_video(video, clip.frames, fps, lossless=True)


def is_written(video: Path, settings: dict) -> bool:
    """Whether the clip is there, made with the same settings.

    Raises:
        UserError: If it is there, but made with others.
    """
    if not video.exists():
        return False
    path = video.with_suffix(".json")
    try:
        found = json.loads(path.read_text())["settings"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{video} is there, but its labels {path.name} cannot be read: use another folder") from error
    for name, value in settings.items():
        if found.get(name) != value:
            raise UserError(f"{video} was made with {name} {found.get(name)}, not {value}: use another folder")
    return True


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
