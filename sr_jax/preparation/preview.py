"""preview.html: what the teachers saw in some clips, in one file that loads nothing from anywhere."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

import sr_jax
from sr_jax.data.records import Provenance
from sr_jax.pages.clips import chosen_clips, data_uri, grid
from sr_jax.pages.style import CSS, SCRIPT
from sr_jax.preparation.features import Kept
from sr_jax.preparation.reading import CutClip
from sr_jax.preparation.summary import Summary
from sr_jax.teachers.base import Face, FaceDetector
from sr_jax.teachers.depth.colours import DepthColours

_SHOWN_CLIPS = 12
# Larger clips are scaled down for the page.
_MOST_HEIGHT = 240
_BOX, _OTHER_BOX = (255, 208, 60), (150, 150, 150)
_STYLE = """
.mask { display: flex; gap: 2px; margin: .45rem 0 0; }
.mask span { flex: 1; height: .42rem; border-radius: 1px; background: var(--rule); }
.mask .face { background: var(--better); }
"""


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
        "size": str(plan.size),
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
        provenance: What made the records of each size.
        summary: What was kept and what was not.
    """
    shown = [looks[place] for place in chosen_clips(len(looks), _SHOWN_CLIPS)]
    facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in _facts(provenance))
    kept = "".join(f"<li>{html.escape(line)}</li>" for line in summary.lines())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Prepared clips</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{CSS}{_STYLE}</style></head><body><main><header><h1>Prepared clips</h1><ul>{kept}</ul></header>"
        "<section><h2>Some clips</h2><p>On the left a clip with the faces that the detector found (the largest in "
        "yellow), on the right the depth that supervises the training (bright is near, scaled over the clip). The bar "
        "below is the face mask: green where the latent frame has a face to compare with.</p>"
        '<p><button id="play" type="button">Pause all clips</button>'
        '<button id="speed" type="button">Slow motion</button></p>'
        f'<div class="clips">{"".join(map(_figure, shown))}</div>'
        '<p class="note">Clips from evenly spaced places of the input: nobody chose them by eye.</p></section>'
        f"<section><h2>What made them</h2><dl>{facts}</dl></section>"
        f"<footer>Written by sr_jax {sr_jax.__version__}. The page loads nothing from anywhere.</footer></main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _figure(look: Mapping[str, Any]) -> str:
    cells = "".join(f'<span class="{"face" if value else ""}"></span>' for value in look["mask"])
    found = sum(value > 0 for value in look["mask"])
    lines = [
        f"&ldquo;{html.escape(look['prompt'])}&rdquo;",
        f"<small>{html.escape(look['source'])}, {look['split']}, {look['size'].replace('x', ' x ')}</small>",
        f"<small>A face in {look['faces']:.0%} of the frames, in {found} of {len(look['mask'])} latent frames.</small>",
    ]
    return (
        '<figure class="clip"><div class="screen"><div class="heads"><span>Clip and faces</span><span>Depth</span>'
        f'</div><video src="{look["video"]}" autoplay loop muted playsinline></video></div>'
        f'<div class="mask">{cells}</div><figcaption>{"".join(lines)}</figcaption></figure>'
    )


def _facts(provenance: Mapping[str, Provenance]) -> list[tuple[str, str]]:
    made = next(iter(provenance.values()))
    sizes = ", ".join(size.replace("x", " x ") for size in provenance)
    rows = [("Clips", f"{made.clip['num_frames']} frames at {made.clip['fps']:g} a second, {sizes} pixels")]
    rows.append(("Video codec", f"{made.codec['name']} {made.codec['weight_hash']}"))
    for name, teacher in made.teachers.items():
        rows.append((f"Teacher: {name.replace('_', ' ')}", f"{teacher['name']} {teacher['weight_hash']}"))
    return rows
