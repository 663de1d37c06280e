"""One clip of a person: draws everything from a seed, renders it, and says what is in it."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from sr_jax.demo.people.captions import write_caption
from sr_jax.demo.people.clothes import sample_clothes
from sr_jax.demo.people.identities import IDENTITIES_PER_SPLIT, identity_number, identity_split, make_person
from sr_jax.demo.people.kinds import FRAMINGS, SPLITS
from sr_jax.demo.people.looks import make_look
from sr_jax.demo.people.motions import JOINTS, MOTIONS, SIDES, sample_motion
from sr_jax.demo.people.parts import part_maps
from sr_jax.demo.people.rendering import render_clip
from sr_jax.demo.people.scenes import sample_camera, sample_framing, sample_room
from sr_jax.demo.people.visibility import face_boxes, face_visibility

_CLIPS_PER_IDENTITY = 2
_HELD_OUT_EVERY = 2


class Clip(NamedTuple):
    """A rendered clip of F frames and the truth about it.

    Attributes:
        frames: sRGB, `[F, H, W, 3]`.
        depth: Metres along the camera's axis at the centre of every pixel, `[F, H, W]`.
        parts: Number of the body part at the centre of every pixel, `[F, H, W]`; see `parts.PARTS`.
        caption: What is seen, in a sentence.
        identity: Number of the person; the same number is the same head.
        person: "man" or "woman".
        motion: Name of the motion, a key of `motions.MOTIONS`.
        violent: Whether the motion is fast and large.
        held_out_motion: Whether the motion is kept out of the training split.
        camera: Name of the camera's move.
        framing: How much of the body the picture is made to hold.
        face_boxes: Box round the head without its hair, `[F, 4]`: (x0, y0, x1, y1) in pixels; may leave the frame.
        face_visible: Whether the face is turned to the camera, in the frame, and not hidden, `[F]`.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    depth: Float[np.ndarray, "f h w"]
    parts: UInt8[np.ndarray, "f h w"]
    caption: str
    identity: int
    person: str
    motion: str
    violent: bool
    held_out_motion: bool
    camera: str
    framing: str
    face_boxes: Float[np.ndarray, "f 4"]
    face_visible: Bool[np.ndarray, "f"]


def sample_clip(
    seed: int,
    split: str,
    *,
    size: tuple[int, int] = (64, 48),
    num_frames: int = 13,
    fps: float = 8.0,
    identity: int | None = None,
    framing: str | None = None,
    violent_only: bool = False,
) -> Clip:
    """Renders the clip of a seed; the same arguments always give the same clip.

    Every second clip of the test split shows a motion that the training split never shows. Clips `2 n` and `2 n + 1`
    show the same person in different clothes, rooms and light.

    Args:
        seed: Number of the clip, at least 0.
        split: "train" or "test".
        size: Height and width in pixels.
        num_frames: Number of frames F.
        fps: Frames a second.
        identity: Number of the person; by default the seed's own. Must belong to the split.
        framing: One of `kinds.FRAMINGS`; by default it is drawn, wide enough for what the motion needs to be seen.
        violent_only: Whether to draw among the fast and large motions alone.

    Raises:
        ValueError: For an unknown split or framing, a negative seed, or an identity of another split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: there are {SPLITS}")
    if framing is not None and framing not in FRAMINGS:
        raise ValueError(f"unknown framing {framing!r}: there are {tuple(FRAMINGS)}")
    if identity is None:
        draw = np.random.default_rng([15485863, SPLITS.index(split), seed // _CLIPS_PER_IDENTITY])
        identity = identity_number(split, int(draw.integers(IDENTITIES_PER_SPLIT)))
    if identity_split(identity) != split:
        raise ValueError(f"identity {identity} belongs to split {identity_split(identity)!r}, not {split!r}")
    rng = np.random.default_rng([104729, SPLITS.index(split), seed])
    person = make_person(identity)
    clothes = sample_clothes(rng, person.kind)
    held_out = split == "test" and seed % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
    name = sample_motion(rng, held_out, violent_only)
    motion = MOTIONS[name]
    side = str(rng.choice(SIDES))
    time = np.arange(num_frames) / fps
    pose = motion.move(time, rng, side)
    pose.angles[:, JOINTS.index("root"), 1] += rng.normal(0.0, 0.22)
    drawn = sample_framing(rng, motion.whole_body)
    framing = framing or drawn
    camera, move = sample_camera(rng, framing, person.height, float(pose.lift.max()), time)
    room = sample_room(rng)
    look = make_look(person, clothes)
    frames, depth, head = render_clip(look, pose, room, camera, size=size)
    frames, depth, head = jax.tree.map(np.asarray, (frames, depth, head))
    return Clip(
        frames=frames,
        depth=depth,
        parts=part_maps(look, pose, camera, depth),
        caption=write_caption(person, clothes, motion.phrase.format(side=side), move),
        identity=identity,
        person=person.kind,
        motion=name,
        violent=motion.violent,
        held_out_motion=motion.held_out,
        camera=move,
        framing=framing,
        face_boxes=face_boxes(head, camera, size),
        face_visible=face_visibility(head, camera, depth),
    )
