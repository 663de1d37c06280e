"""Clips that are deformed on purpose, with their exact maps of parts: what a judge of bodies must notice.

All works on pixels, so that it is known to the pixel what was done, and the measures can be held against it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from sr_jax.demo.people.parts import PARTS


class Shown(NamedTuple):
    """A frame, and what is known of it.

    Attributes:
        frame: RGB.
        parts: Numbers of parts.
    """

    frame: UInt8[np.ndarray, "h w 3"]
    parts: UInt8[np.ndarray, "h w"]


Deformation = Callable[[Shown, str], Shown]
"""Deforms the arm of a side, "left" or "right", in one frame."""


def limb_cut(shown: Shown, side: str) -> Shown:
    """Takes the forearm away, and puts what lies round it in its place; the hand stays, apart from the body."""
    return _erased(shown, shown.parts == _number(f"{side} forearm"))


def hand_lost(shown: Shown, side: str) -> Shown:
    """Takes forearm and hand away."""
    return _erased(shown, _lower_arm(shown, side))


def limb_doubled(shown: Shown, side: str) -> Shown:
    """Puts forearm and hand there a second time, a quarter of the frame's height to the side of the first."""
    mask, (height, width) = _lower_arm(shown, side), shown.parts.shape
    if not mask.any():
        return shown
    distance = height // 4
    right = np.nonzero(mask)[1].mean() < width / 2
    return _pasted(shown, mask, np.float32([[1, 0, distance if right else -distance], [0, 1, 0]]))


def limb_bent(shown: Shown, side: str) -> Shown:
    """Turns forearm and hand by a quarter of a circle about their middle, where no joint is."""
    mask = _lower_arm(shown, side)
    if not mask.any():
        return shown
    y, x = (float(np.mean(places)) for places in np.nonzero(mask))
    return _pasted(_erased(shown, mask), mask, cv2.getRotationMatrix2D((x, y), 90, 1.0), source=shown)


def limbs_swapped(shown: Shown, side: str) -> Shown:
    """Exchanges the upper arm and the hand of a side: what is at the place of one is drawn at that of the other."""
    upper, hand = (shown.parts == _number(f"{side} {name}") for name in ("upper arm", "hand"))
    if not (upper.any() and hand.any()):
        return shown
    there = np.subtract(_centre(hand), _centre(upper))
    emptied = _erased(shown, upper | hand)
    moved = _pasted(emptied, upper, _shift(there), source=shown)
    return _pasted(moved, hand, _shift(-there), source=shown)


DEFORMATIONS: Mapping[str, Deformation] = {
    "limb cut": limb_cut,
    "hand lost": hand_lost,
    "limb doubled": limb_doubled,
    "limb bent": limb_bent,
    "limbs swapped": limbs_swapped,
}
"""What is done to arms, by name."""


def deform(
    frames: UInt8[np.ndarray, "f h w 3"],
    parts: UInt8[np.ndarray, "f h w"],
    deformation: Deformation,
    dose: float,
    *,
    seed: int,
) -> tuple[UInt8[np.ndarray, "f h w 3"], UInt8[np.ndarray, "f h w"]]:
    """Deforms an arm in a share of the frames; those of a smaller dose are among those of a larger one.

    Args:
        frames: A clip.
        parts: Its exact map.
        deformation: What is done, one of `DEFORMATIONS`.
        dose: Share of the frames after the first, in [0, 1].
        seed: Of the side and of the frames.

    Returns:
        The deformed clip and its map.
    """
    side, chosen = _chosen(len(frames), dose, seed)
    shown = [Shown(*pair) for pair in zip(frames, parts, strict=True)]
    deformed = [deformation(item, side) if place in chosen else item for place, item in enumerate(shown)]
    return np.stack([item.frame for item in deformed]), np.stack([item.parts for item in deformed])


def exchange_face(
    frames: UInt8[np.ndarray, "f h w 3"],
    boxes: Float[np.ndarray, "f 4"],
    other_frames: UInt8[np.ndarray, "f h w 3"],
    other_boxes: Float[np.ndarray, "f 4"],
    dose: float,
    *,
    seed: int,
) -> UInt8[np.ndarray, "f h w 3"]:
    """Puts the face of another clip in the place of that of a clip, in a share of the frames after the first.

    Args:
        frames: A clip.
        boxes: Corners x0, y0, x1, y1 of its face, pixels.
        other_frames: Another clip.
        other_boxes: The same of it.
        dose: Share of the frames after the first, in [0, 1].
        seed: Of the frames.
    """
    _, chosen = _chosen(len(frames), dose, seed)
    exchanged = frames.copy()
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width] + 0.5
    for place in chosen:
        (x0, y0, x1, y1), (u0, v0, u1, v1) = boxes[place], other_boxes[place]
        scale = np.array([(x1 - x0) / (u1 - u0), (y1 - y0) / (v1 - v0)])
        matrix = np.float32([[scale[0], 0, x0 - scale[0] * u0], [0, scale[1], y0 - scale[1] * v0]])
        face = cv2.warpAffine(other_frames[place], matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        inside = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 1
        exchanged[place][inside] = face[inside]
    return exchanged


def _chosen(count: int, dose: float, seed: int) -> tuple[str, set[int]]:
    rng = np.random.default_rng([6271, seed])
    side = str(rng.choice(["left", "right"]))
    order = 1 + rng.permutation(count - 1)
    return side, set(order[: round(dose * (count - 1))].tolist())


def _number(name: str) -> int:
    return 1 + PARTS.index(name)


def _lower_arm(shown: Shown, side: str) -> Bool[np.ndarray, "h w"]:
    return np.isin(shown.parts, [_number(f"{side} forearm"), _number(f"{side} hand")])


def _centre(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


def _shift(by: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2 3"]:
    return np.float32([[1, 0, round(by[0])], [0, 1, round(by[1])]])


def _erased(shown: Shown, mask: Bool[np.ndarray, "h w"]) -> Shown:
    """What is round the person in place of the masked pixels; what was painted over is of no part."""
    if not mask.any():
        return shown
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    # From the backdrop alone: everything that is person is unknown to the filling, and put back behind it.
    unknown = ((shown.parts > 0) | (grown > 0)).astype(np.uint8)
    filled = cv2.inpaint(shown.frame, unknown, 3, cv2.INPAINT_TELEA)
    edge = (grown > 0) & ((shown.parts == 0) | mask)
    frame = np.where(edge[..., None], filled, shown.frame)
    return Shown(frame, np.where(mask, 0, shown.parts).astype(np.uint8))


def _pasted(
    shown: Shown, mask: Bool[np.ndarray, "h w"], matrix: Float[np.ndarray, "2 3"], source: Shown | None = None
) -> Shown:
    """The masked pixels of `source`, moved by a 2 x 3 matrix, drawn over a frame."""
    source = source or shown
    size = mask.shape[::-1]
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    pixels = cv2.warpAffine(source.frame, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    parts = cv2.warpAffine(source.parts, matrix, size, flags=cv2.INTER_NEAREST)
    return Shown(np.where(moved[..., None], pixels, shown.frame), np.where(moved, parts, shown.parts))
