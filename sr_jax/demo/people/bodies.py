"""From a posture to solids: the skeleton, the flesh on it, the hair and the clothes.

Proportions are those of an adult with a head about a third larger than life, so that the face still reads in a small
picture. World axes: x to the right of a viewer who faces the person, y up, z from the person to the viewer; metres.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.demo.people.looks import Look
from sr_jax.demo.people.motions import JOINTS, SIDES
from sr_jax.demo.people.primitives import Solids, ellipsoid, limb, stack

HEAD = 0  # index of the head among a body's solids: the one with a painted face

_HIP_TO_ROOT, _ROOT_TO_SPINE, _SPINE_TO_SHOULDER, _SPINE_TO_NECK = 0.04, 0.10, 0.345, 0.385
_UPPER_ARM, _FOREARM, _THIGH, _SHIN, _ANKLE = 0.235, 0.215, 0.335, 0.325, 0.06
# Limbs hang down and the trunk stands up, so "forward" is the other way round; the right side mirrors the left.
_BACKWARDS = ("shoulder", "elbow", "hip")


class Head(NamedTuple):
    """Where the head is.

    Attributes:
        rotation: Head to world, `[..., 3, 3]`; its columns point to the person's left, up, and out of the face.
        centre: Centre of the head's ellipsoid in the world, `[..., 3]`, metres.
        radii: Its half axes, `[..., 3]`, metres.
    """

    rotation: Float[Array, "*f 3 3"]
    centre: Float[Array, "*f 3"]
    radii: Float[Array, "*f 3"]


def pose_body(
    look: Look, angles: Float[Array, "j 3"], travel: Float[Array, "2"], lift: Float[Array, ""]
) -> tuple[Solids, Head]:
    """The solids of one person in one posture.

    Args:
        look: The person and the outfit.
        angles: Joint angles in radians, in the convention of `motions`.
        travel: Offset of the root along x and z, metres.
        lift: Height of the lower ankle above its height in a stand, metres.

    Returns:
        The solids, head first, and where the head is.
    """
    turns = dict(zip(JOINTS, _rotations(angles)))
    frames = _skeleton(look, turns)
    lowest = jnp.minimum(frames["left_ankle"][1][1], frames["right_ankle"][1][1])
    root = jnp.stack([travel[0], _ANKLE * look.height - lowest + lift, travel[1]])
    frames = {name: (rotation, position + root) for name, (rotation, position) in frames.items()}
    head = Head(*frames["head"], look.head_radii)
    return stack([*_head(look, head), *_trunk(look, frames), *_limbs(look, frames)]), head


def _rotations(angles: jax.Array) -> jax.Array:
    """Rotation of each joint relative to its parent, `[J, 3, 3]`: about y, then x, then z."""
    signs = [
        [-1.0 if name.endswith(_BACKWARDS) else 1.0, *([-1.0, -1.0] if name.startswith("right") else [1.0, 1.0])]
        for name in JOINTS
    ]
    x, y, z = (angles * jnp.array(signs)).T
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)

    def matrices(*entries):
        return jnp.stack(entries, axis=-1).reshape(-1, 3, 3)

    about_x = matrices(one, zero, zero, zero, jnp.cos(x), -jnp.sin(x), zero, jnp.sin(x), jnp.cos(x))
    about_y = matrices(jnp.cos(y), zero, jnp.sin(y), zero, one, zero, -jnp.sin(y), zero, jnp.cos(y))
    about_z = matrices(jnp.cos(z), -jnp.sin(z), zero, jnp.sin(z), jnp.cos(z), zero, zero, zero, one)
    return about_z @ about_x @ about_y


def _skeleton(look: Look, turns: dict[str, jax.Array]) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Rotation and position of every joint, relative to a root at the origin."""
    frames = {"root": (turns["root"], jnp.zeros(3))}

    def attach(name, parent, offset, turn=None):
        rotation, position = frames[parent]
        frames[name] = (rotation if turn is None else rotation @ turn, position + rotation @ jnp.array(offset))

    size = look.height
    attach("spine", "root", [0.0, _ROOT_TO_SPINE * size, 0.0], turns["spine"])
    attach("neck", "spine", [0.0, _SPINE_TO_NECK * size, 0.0], turns["head"])
    attach("head", "neck", [0.0, 0.02 + look.head_radii[1], 0.015])
    for side, sign in zip(SIDES, (1.0, -1.0)):
        shoulder = [sign * look.shoulders, _SPINE_TO_SHOULDER * size, 0.0]
        attach(f"{side}_shoulder", "spine", shoulder, turns[f"{side}_shoulder"])
        attach(f"{side}_elbow", f"{side}_shoulder", [0.0, -_UPPER_ARM * size, 0.0], turns[f"{side}_elbow"])
        attach(f"{side}_wrist", f"{side}_elbow", [0.0, -_FOREARM * size, 0.0])
        attach(f"{side}_hip", "root", [sign * look.hips, -_HIP_TO_ROOT * size, 0.0], turns[f"{side}_hip"])
        attach(f"{side}_knee", f"{side}_hip", [0.0, -_THIGH * size, 0.0], turns[f"{side}_knee"])
        attach(f"{side}_ankle", f"{side}_knee", [0.0, -_SHIN * size, 0.0])
    return frames


def _head(look: Look, head: Head) -> list[Solids]:
    rotation, centre, radii = head

    def on_head(offset, size, colour):
        return ellipsoid(rotation, centre + rotation @ jnp.asarray(offset), jnp.asarray(size), colour)

    nose = [0.0, -0.16 * radii[1], 0.95 * radii[2]]
    solids = [on_head([0.0, 0.0, 0.0], radii, look.skin)]
    solids += [on_head(nose, [look.nose_width, look.nose_length, 0.028], look.skin * 0.90)]
    solids += [on_head([sign * radii[0], -0.01, -0.015], [0.018, 0.036, 0.022], look.skin) for sign in (1.0, -1.0)]
    solids += [on_head(offset, size, look.hair) for offset, size in zip(look.hair_centres, look.hair_radii)]
    return solids


def _trunk(look: Look, frames: dict) -> list[Solids]:
    spine, root = frames["spine"], frames["root"]

    def bone(frame, start, end, radii, colour, flatness=1.0):
        rotation, position = frame
        ends = (position + rotation @ jnp.asarray(point, jnp.float32) * look.height for point in (start, end))
        return limb(rotation, *ends, jnp.asarray(radii, jnp.float32), colour, flatness)

    girth = look.girth
    shoulder = look.shoulders / look.height - 0.015
    chest = [look.hips * 1.2 * girth, look.shoulders * 0.84 * girth]
    pelvis = jnp.stack([look.hips + 0.065 * girth, 0.115 * girth, 0.10 * girth])
    return [
        bone(spine, [0, 0.30, 0], [0, 0.43, 0.005], [0.055, 0.05], look.skin * 0.86),
        bone(spine, [0, -0.03, 0], [0, 0.245, 0], chest, look.top, 0.68),
        bone(spine, [-shoulder, 0.34, 0], [shoulder, 0.34, 0], [0.062 * girth, 0.062 * girth], look.top),
        ellipsoid(root[0], root[1], pelvis * look.height, look.bottom),
        bone(root, [0, 0.05, 0], [0, -0.17, 0], jnp.array([0.15, 0.22]) * (0.1 + 0.9 * look.skirt), look.bottom, 0.72),
    ]


def _limbs(look: Look, frames: dict) -> list[Solids]:
    solids = []
    for side in SIDES:
        joint = {name: frames[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}

        def bone(start, end, radii, colour, joint=joint):
            return limb(joint[start][0], joint[start][1], joint[end][1], jnp.array(radii) * look.girth, colour)

        def cap(name, offset, size, colour, joint=joint):
            rotation, position = joint[name]
            return ellipsoid(rotation, position + rotation @ jnp.array(offset), jnp.array(size), colour)

        solids += [
            bone("shoulder", "elbow", [0.054, 0.045], look.upper_arm),
            bone("elbow", "wrist", [0.045, 0.036], look.forearm),
            cap("wrist", [0.0, -0.04, 0.0], [0.038, 0.058, 0.034], look.skin),
            bone("hip", "knee", [0.085, 0.062], look.thigh),
            bone("knee", "ankle", [0.062, 0.045], look.shin),
            cap("ankle", [0.0, -0.015, 0.05], [0.052, 0.045, 0.115], look.shoes),
        ]
    return solids
