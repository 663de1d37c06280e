"""preview.html: what the teachers saw in some clips, in one file that loads nothing from anywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.data.records import Provenance
from sr_jax.pages.clips import chosen_clips, data_uri, grid
from sr_jax.pages.rendering import render
from sr_jax.preparation.features import Kept
from sr_jax.preparation.reading import CutClip
from sr_jax.preparation.summary import Summary
from sr_jax.teachers.base import Face, FaceDetector
from sr_jax.teachers.depth.colours import DepthColours

_SHOWN_CLIPS = 12
# Larger clips are scaled down for the page.
_MOST_HEIGHT = 240
_BOX, _OTHER_BOX = (255, 208, 60), (150, 150, 150)


def clip_look(
    clip: CutClip,
    arrays: Mapping[str, np.ndarray],
    kept: Kept,
    *,
    detector: FaceDetector,
    colours: DepthColours,
    fps: float,
) -> dict[str, Any]:
    """What the page shows of one clip, as JSON values.

    Args:
        clip: The clip.
        arrays: Its record.
        kept: What else the teachers made of it.
        detector: Finds its faces.
        colours: How its depth is coloured.
        fps: Frames a second.
    """
    plan, (height, width) = clip.plan, clip.frames.shape[1:3]
    # An even size, as yuv420p asks.
    scale = min(1.0, _MOST_HEIGHT / height)
    size = tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))
    faces = detector(clip.frames)
    shown = [
        _with_boxes(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), found, size[1] / height)
        for frame, found in zip(clip.frames, faces)
    ]
    coloured = colours.colour(kept["depth"]["disparity"])
    depth = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in coloured]
    return {
        "clip_id": plan.clip_id,
        "split": plan.source.split,
        "source": plan.source.name,
        "prompt": plan.source.prompt,
        "size": str(plan.kind),
        "faces": float(np.mean([len(found) > 0 for found in faces])),
        "mask": np.asarray(arrays["face_mask"], np.float32).tolist(),
        "video": data_uri(grid([[np.stack(shown), np.stack(depth)]]), fps),
    }


def _with_boxes(frame: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face], scale: float) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with a box around every face, the largest in another colour."""
    frame = np.ascontiguousarray(frame)
    for face in sorted(faces, key=lambda face: face.area):
        left, top, right, bottom = _corners(face.box * scale)
        colour = _BOX if face.area == max(other.area for other in faces) else _OTHER_BOX
        cv2.rectangle(frame, (left, top), (right, bottom), colour, max(1, round(len(frame) / 120)))
    return frame


def _corners(box: Float[np.ndarray, "4"]) -> list[int]:
    return [round(float(value)) for value in box]


def build_preview(looks: Sequence[Mapping[str, Any]], provenance: Mapping[str, Provenance], summary: Summary) -> str:
    """The whole page.

    Args:
        looks: What `clip_look` gave, sorted; evenly spaced ones are shown.
        provenance: What made the records of each kind of clips.
        summary: What was kept and what was not.
    """
    return render(
        "preview.html.j2",
        looks=[looks[place] for place in chosen_clips(len(looks), _SHOWN_CLIPS)],
        facts=_facts(provenance),
        summary=summary.lines(),
    )


def _facts(provenance: Mapping[str, Provenance]) -> list[tuple[str, str]]:
    made = next(iter(provenance.values()))
    # The names of all but the longest clips begin with their frames; still images have one.
    sizes: dict[str, list[str]] = {}
    for name in provenance:
        *frames, height, width = name.split("x")
        sizes.setdefault("".join(frames), []).append(f"{height} x {width}")
    rows = []
    for frames, listed in sizes.items():
        what = {"": "Clips", "1": "Still images"}.get(frames, "Shorter clips")
        length = f"{frames or made.clip['num_frames']} frames at {made.clip['fps']:g} a second, "
        rows.append((what, f"{'' if frames == '1' else length}{', '.join(listed)} pixels"))
    rows.append(("Video codec", f"{made.codec['name']} {made.codec['weight_hash']}"))
    for name, teacher in made.teachers.items():
        rows.append((f"Teacher: {name.replace('_', ' ')}", f"{teacher['name']} {teacher['weight_hash']}"))
    return rows
