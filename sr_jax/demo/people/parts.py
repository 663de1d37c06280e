"""Which body part every pixel of a rendered clip shows, exactly: what the part judge learns from."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.demo.people.bodies import pose_body
from sr_jax.demo.people.looks import Look
from sr_jax.demo.people.motions import SIDES, Pose
from sr_jax.demo.people.primitives import first_hit
from sr_jax.demo.people.scenes import Camera, focal_length

PARTS = (
    "head", "torso",
    "left upper arm", "left forearm", "left hand", "left leg",
    "right upper arm", "right forearm", "right hand", "right leg",
)  # fmt: skip
"""Names of the parts; a part's number in a map is its place here, from 1, and 0 is what is no person."""

# In the order in which `bodies` builds them: head, nose, two ears and five of hair; neck, chest, shoulders, pelvis and
# skirt; and of each side two solids and the hand of the arm, and two and the foot of the leg.
_SOLIDS_OF_HEAD, _SOLIDS_OF_TORSO = 9, 5
_LIMBS = ("upper arm", "forearm", "hand", "leg", "leg", "leg")
# Metres by which a solid may lie behind the depth of a pixel and still be what is seen: rounding.
_ROUNDING = 1e-3


def part_of_solids() -> UInt8[np.ndarray, " s"]:
    """The number of the part that each of a body's solids belongs to, in their order."""
    names = ["head"] * _SOLIDS_OF_HEAD + ["torso"] * _SOLIDS_OF_TORSO
    names += [f"{side} {limb}" for side in SIDES for limb in _LIMBS]
    return np.array([1 + PARTS.index(name) for name in names], np.uint8)


def part_maps(look: Look, pose: Pose, camera: Camera, depth: Float[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w"]:
    """The part at the centre of every pixel of a rendered clip.

    Args:
        look: The person and the outfit.
        pose: The posture in each of F frames.
        camera: Its place in each of F frames.
        depth: The clip's depth, metres: what stands before the person hides it.

    Returns:
        Numbers of parts, see `PARTS`.
    """
    pose, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (pose, camera))
    return np.asarray(_part_maps(look, pose, camera, jnp.asarray(depth)))


@jax.jit
def _part_maps(look: Look, pose: Pose, camera: Camera, depth: Float[Array, "f h w"]) -> UInt8[Array, "f h w"]:
    parts, rays_of_camera = jnp.asarray(part_of_solids()), _central_rays(*depth.shape[1:])

    def frame(inputs):
        pose, camera, depth = inputs
        solids, _ = pose_body(look, *pose)
        rays = jnp.tensordot(camera.rotation, rays_of_camera, 1)
        distance, index = first_hit(solids, camera.position, rays)
        seen = distance <= depth.reshape(-1) + _ROUNDING
        return jnp.where(seen, parts[index], 0).reshape(depth.shape)

    return jax.lax.map(frame, (pose, camera, depth))


def _central_rays(height: int, width: int) -> Float[Array, "3 n"]:
    """Directions in the camera's frame through pixel centres, with depth 1."""
    rows = (jnp.arange(height) + 0.5 - height / 2) / focal_length(height)
    columns = (jnp.arange(width) + 0.5 - width / 2) / focal_length(height)
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    return jnp.stack([x, y, jnp.ones_like(x)]).reshape(3, -1)
