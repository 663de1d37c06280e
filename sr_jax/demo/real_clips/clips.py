"""Short clips of one real person each, cut out of packaged videos.

Talking heads are framed by their detected face, bodies by the track that `real_footage` gives. Training and held-out
clips come from different seconds of the videos; the people are the same, so these clips say how well people who were
seen in training are rendered, not how well strangers are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sr_jax.demo.real_clips.footage import Action, Shot, Span
from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.media.video import write_video
from sr_jax.outputs import write_text
from sr_jax.teachers.base import Face, FaceDetector

# Frames are decoded with so many lines or fewer: the widest crop still has more pixels than a clip.
_MOST_LINES = 480
# Side of the square around a talking head, as a multiple of the face's larger side: head and shoulders, then head.
_HEAD_ZOOMS = (2.0, 1.45)
# Side of the square around a body, as a multiple of its track's.
_BODY_ZOOMS = (1.0, 0.85)
# Starts of clips of one shot are at least this many seconds apart.
_LEAST_GAP = {"train": 0.1, "test": 0.2}


class Footage(NamedTuple):
    """A decoded video: RGB `frames` and the second at which each is shown."""

    frames: UInt8[np.ndarray, "f h w 3"]
    seconds: Float[np.ndarray, " f"]


@dataclass(frozen=True)
class ClipSpec:
    """One clip to cut.

    Attributes:
        shot: Where from.
        split: "train" or "test".
        seconds: When each of its frames is taken.
        action: What the person does in its middle.
        zoom: Index of the framing, 0 is the wider one.
        mirrored: Whether left and right are swapped.
    """

    shot: Shot
    split: str
    seconds: tuple[float, ...]
    action: Action
    zoom: int
    mirrored: bool

    @property
    def name(self) -> str:
        """File name without suffix, unique."""
        milliseconds = round(1000 * self.seconds[0])
        return f"{self.shot.name}-{milliseconds:05d}-{'wide' if self.zoom == 0 else 'close'}" + (
            "-mirrored" if self.mirrored else ""
        )


def plan_clips(shots: Sequence[Shot], *, num_frames: int, fps: float, most: dict[str, int]) -> list[ClipSpec]:
    """Plans the clips of all shots, in a fixed order.

    Training clips overlap and come in two framings, each also mirrored; held-out clips have the wider framing only.

    Args:
        shots: Where to cut.
        num_frames: Frames of a clip.
        fps: Frames a second of a clip.
        most: For each split, the most clips (not counting framings and mirrored copies) of one shot.

    Raises:
        UserError: When no clip of this length fits into any shot of a split.
    """
    specs = []
    for split, spans in (("train", [shot.train for shot in shots]), ("test", [shot.test for shot in shots])):
        views = (
            [(zoom, mirrored) for zoom in (0, 1) for mirrored in (False, True)] if split == "train" else [(0, False)]
        )
        for shot, span in zip(shots, spans):
            for start in clip_starts(span, (num_frames - 1) / fps, _LEAST_GAP[split], most[split]):
                seconds = tuple(start + index / fps for index in range(num_frames))
                middle = (seconds[0] + seconds[-1]) / 2
                action = next(action for action in reversed(shot.actions) if action.start <= middle)
                specs += [ClipSpec(shot, split, seconds, action, *view) for view in views]
        if not any(spec.split == split for spec in specs):
            raise UserError(
                f"{num_frames} frames at {fps:g} a second are longer than every {split} shot: ask for fewer"
            )
    return specs


def clip_starts(span: Span | None, duration: float, least_gap: float, most: int) -> list[float]:
    """At most `most` starts of clips of `duration` seconds, evenly over `span`, at least `least_gap` seconds apart."""
    if span is None or span[1] - span[0] < duration:
        return []
    room = span[1] - span[0] - duration
    count = min(most, 1 + int(room / least_gap + 1e-6))
    return [float(start) for start in span[0] + np.linspace(0.0, room, count)]


def read_footage(path: Path) -> Footage:
    """Decodes a video, scaled down so that the shorter side has at most 480 pixels.

    Raises:
        UserError: When the file is no video, or a damaged one.
    """
    with open_video(path) as video:
        pictures = [(picture.small(_MOST_LINES), picture.seconds) for picture in video.pictures]
    frames, seconds = zip(*pictures)
    return Footage(np.stack(frames), np.array(seconds))


class Cut(NamedTuple):
    """One clip and the face in it.

    Attributes:
        frames: RGB.
        face_boxes: Corners x0, y0, x1, y1 in pixels of the clip; zeros where there is no face.
        face_visible: Whether a frame shows a face.
    """

    frames: UInt8[np.ndarray, "f s s 3"]
    face_boxes: Float[np.ndarray, "f 4"]
    face_visible: Bool[np.ndarray, " f"]


def cut_clip(spec: ClipSpec, footage: Footage, faces: Sequence[Sequence[Face]], *, size: int) -> Cut:
    """Cuts one clip.

    Args:
        spec: What to cut.
        footage: Its video.
        faces: For a talking head, the faces of each frame of the video, best first. Not read for a body, whose face is
            too small.
        size: Pixels of each side of the clip.

    Raises:
        UserError: When a talking head shows no face in the whole clip.
    """
    indices = [int(np.argmin(np.abs(footage.seconds - second))) for second in spec.seconds]
    frames = footage.frames[indices]
    shown = [() if spec.shot.track else faces[index][:1] for index in indices]
    visible = np.array([bool(found) for found in shown])
    boxes = np.array([found[0].box if found else np.zeros(4) for found in shown], np.float32)
    if spec.shot.track:
        squares = _body_squares(spec, frames.shape[1])
    elif visible.any():
        squares = np.tile(_head_square(spec, boxes[visible]), (len(frames), 1))
    else:
        raise UserError(f"no face in {spec.name} of {spec.shot.file.member}")
    squares = np.stack([_inside(square, *frames.shape[1:3]) for square in squares])
    clip = np.stack([_crop(frame, square, size) for frame, square in zip(frames, squares)])
    # Corners of the squares and of the boxes, to pixels of the clip.
    boxes = (boxes - np.tile(squares[:, :2], 2)) * (size / squares[:, 2:])
    if spec.mirrored:
        clip, boxes = clip[:, :, ::-1], np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], 1)
    return Cut(clip, np.where(visible[:, None], boxes, 0).astype(np.float32), visible)


def _body_squares(spec: ClipSpec, height: int) -> Float[np.ndarray, "f 3"]:
    """Centre x, y and side in pixels for each frame of a clip that follows its track."""
    track = np.array(spec.shot.track)
    columns = [np.interp(spec.seconds, track[:, 0], track[:, column]) * height for column in (1, 2, 3)]
    return np.stack(columns, axis=1) * [1.0, 1.0, _BODY_ZOOMS[spec.zoom]]


def _head_square(spec: ClipSpec, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "3"]:
    """Centre x, y and side around the median face of a clip: the frame stands still while the head moves in it."""
    left, top, right, bottom = np.median(boxes, axis=0)
    side = _HEAD_ZOOMS[spec.zoom] * max(right - left, bottom - top)
    return np.array([(left + right) / 2, (top + bottom) / 2, side])


def _inside(square: Float[np.ndarray, "3"], height: int, width: int) -> Int[np.ndarray, "3"]:
    """Left, top and side in whole pixels of a square (centre x, y, side), moved or shrunk to lie in the frame."""
    x, y, side = square.tolist()
    side = round(min(side, height, width))
    left, top = (round(min(max(middle - side / 2, 0), room - side)) for middle, room in ((x, width), (y, height)))
    return np.array([left, top, side])


def _crop(
    frame: UInt8[np.ndarray, "h w 3"], square: Int[np.ndarray, "3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """A square (left, top, side) of a frame at `size` pixels."""
    left, top, side = square
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(frame[top : top + side, left : left + side], (size, size), interpolation=method)


def clip_labels(spec: ClipSpec, cut: Cut, *, held_out_motion: bool) -> dict[str, str | bool | float | list]:
    """What the file beside a clip says of it; the keys that rendered clips have, and where it was cut.

    Args:
        spec: The clip.
        cut: Its pixels and faces.
        held_out_motion: Whether no training clip shows this motion.
    """
    return {
        "identity": spec.shot.identity,
        "motion": spec.action.motion,
        "kind": "body" if spec.shot.track else "head",
        "held_out_motion": held_out_motion,
        "face_boxes": cut.face_boxes.tolist(),
        "face_visible": cut.face_visible.tolist(),
        "source": f"{spec.shot.file.requirement}:{spec.shot.file.member}",
        "start_seconds": spec.seconds[0],
        "mirrored": spec.mirrored,
    }


def claim_folder(folder: Path, settings: dict[str, int | float]) -> None:
    """Makes a folder for clips of these settings, or checks that it was made for them.

    Raises:
        UserError: When the folder holds clips of other settings.
    """
    # Hidden, because it belongs to no clip.
    path = folder / ".settings.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(settings) + "\n")
    stored = json.loads(path.read_text())
    for name, value in settings.items():
        if stored.get(name) != value:
            raise UserError(f"{folder} was begun with {name} {stored.get(name)}, not {value}: use another folder")


def write_clip(
    folder: Path, name: str, clip: UInt8[np.ndarray, "f h w 3"], *, fps: float, caption: str, labels: dict
) -> None:
    """Writes `NAME.txt` and `NAME.json`, then `NAME.mp4` without loss: a video that is there is complete."""
    write_text(folder / f"{name}.txt", caption + "\n")
    write_text(folder / f"{name}.json", json.dumps(labels) + "\n")
    write_video(folder / f"{name}.mp4", clip, fps, lossless=True)


def write_clips(
    folder: Path,
    specs: Sequence[ClipSpec],
    footage: Footage,
    detector: FaceDetector,
    *,
    fps: float,
    size: int,
    held_out_motions: set[str],
) -> None:
    """Cuts and writes those clips of one video that are not in `folder/SPLIT` yet.

    Args:
        folder: Output; gets a folder for each split.
        specs: Clips of one video.
        footage: That video.
        detector: Finds the faces of talking heads.
        fps: Frames a second.
        size: Pixels of each side.
        held_out_motions: Motions that no training clip shows.
    """
    faces = detector(footage.frames) if any(not spec.shot.track for spec in specs) else []
    for spec in specs:
        target = folder / spec.split
        target.mkdir(parents=True, exist_ok=True)
        if (target / f"{spec.name}.mp4").exists():
            continue
        cut = cut_clip(spec, footage, faces, size=size)
        labels = clip_labels(spec, cut, held_out_motion=spec.action.motion in held_out_motions)
        write_clip(target, spec.name, cut.frames, fps=fps, caption=spec.action.caption, labels=labels)
