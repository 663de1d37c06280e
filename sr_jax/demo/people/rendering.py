"""Turns people, rooms and cameras into pictures and exact depth by casting rays.

Each pixel is the mean of five rays, then the picture is softened as a camera's lens does. The middle ray goes through
the pixel's centre and gives the depth, which stays sharp.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from sr_jax.demo.people.bodies import HEAD, Head, pose_body
from sr_jax.demo.people.faces import paint_head
from sr_jax.demo.people.looks import Look
from sr_jax.demo.people.motions import Pose
from sr_jax.demo.people.primitives import Solids, ellipsoid, first_hit, stack, surface
from sr_jax.demo.people.scenes import Camera, Room, focal_length

# Right and down of each ray in its pixel: a rotated grid with every fifth of the rows and of the columns once, which
# smooths upright and level edges in five steps, where 3 x 3 rays have three. The third goes through the centre.
_RAYS = ((0.1, 0.3), (0.3, 0.9), (0.5, 0.5), (0.7, 0.1), (0.9, 0.7))
_CENTRE = 2
_LENS = 0.6  # standard deviation in pixels of the lens's blur: about that of a camera with an anti-aliasing filter


@partial(jax.jit, static_argnames="size")
def render_clip(
    look: Look, pose: Pose, room: Room, camera: Camera, size: tuple[int, int]
) -> tuple[UInt8[Array, "f h w 3"], Float[Array, "f h w"], Head]:
    """Renders one person in a room.

    Args:
        look: The person and the outfit.
        pose: The posture in each of F frames.
        room: The room.
        camera: Its place in each of F frames.
        size: Height and width of the picture in pixels.

    Returns:
        sRGB frames, depth along the camera's axis at every pixel's centre in metres, and the head in each frame.
    """
    camera_rays = _camera_rays(size)

    def frame(inputs):
        pose, camera = inputs
        body, head = pose_body(look, *pose)
        solids = jax.tree.map(lambda *parts: jnp.concatenate(parts), body, _props(room))
        rays = jnp.tensordot(camera.rotation, camera_rays, 1)
        distance, index = first_hit(solids, camera.position, rays)
        backdrop, backdrop_colour = _backdrop(room, pose, camera.position, rays)
        depth = jnp.minimum(distance, backdrop)
        points = camera.position[:, None] + depth * rays
        normal, local, colour = surface(solids, index, points)
        colour = jnp.where(index == HEAD, paint_head(look, local), colour)
        colour = jnp.where(distance < backdrop, _shade(colour, normal, rays, room.light), backdrop_colour)
        picture = jnp.moveaxis(colour.reshape(3, len(_RAYS), *size).mean(axis=1), 0, -1)
        return _srgb(_soften(picture)), depth.reshape(len(_RAYS), *size)[_CENTRE], head

    pose, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (pose, camera))
    return jax.lax.map(frame, (pose, camera))


def _camera_rays(size: tuple[int, int]) -> jax.Array:
    """Directions in the camera's frame with depth 1, so that the ray parameter is depth, `[3, 5*H*W]`."""
    height, width = size
    right, down = jnp.array(_RAYS).T[:, :, None, None]
    x = (jnp.arange(width) + right - width / 2) / focal_length(height)
    y = (jnp.arange(height)[:, None] + down - height / 2) / focal_length(height)
    shape = (len(_RAYS), height, width)
    return jnp.stack([jnp.broadcast_to(x, shape), jnp.broadcast_to(y, shape), jnp.ones(shape)]).reshape(3, -1)


def _props(room: Room) -> Solids:
    parts = (room.prop_centres, room.prop_radii, room.prop_colours)
    return stack([ellipsoid(jnp.eye(3), *prop) for prop in zip(*parts)])


def _backdrop(room: Room, pose: Pose, origin: jax.Array, rays: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Depth and colour of the room's own surfaces along rays that start inside it."""
    low, high = room.low[:, None], room.high[:, None]
    walls = jnp.where(rays > 0, high, low)
    # A ray along a wall never meets it; with the other sign it would do so behind the camera.
    distances = (walls - origin[:, None]) / jnp.where(rays > 0, jnp.maximum(rays, 1e-9), jnp.minimum(rays, -1e-9))
    distance = distances.min(axis=0)
    x, y, z = origin[:, None] + distance * rays
    on_back = z < room.low[2] + 1e-3
    on_floor = y < 1e-3
    wall = room.wall[:, None] * jnp.where(on_back, 1.0, 0.82) * (0.88 + 0.06 * y)
    accent = room.accent[:, None] * (0.88 + 0.06 * y)
    wall = wall + (accent - wall) * (_pattern(room, x, y) * on_back)
    floor = room.floor[:, None] * _contact_shadow(pose, x, z)
    return distance, jnp.where(on_floor, floor, wall)


def _pattern(room: Room, x: jax.Array, y: jax.Array) -> jax.Array:
    """Coverage of the back wall by its pattern, 0 to 1."""
    centre_x, centre_y, size = room.pattern_place
    right, up = x - centre_x, y - centre_y
    panel = y < 0.9 * size + 0.35
    disc = jnp.hypot(right, up) < size
    window = jnp.maximum(jnp.abs(right), jnp.abs(up) * 0.7) < size
    stripes = jnp.sin(2 * jnp.pi * right / (1.6 * size)) > 0
    return jnp.tensordot(room.pattern, jnp.stack([panel, disc, window, stripes]).astype(jnp.float32), 1)


def _contact_shadow(pose: Pose, x: jax.Array, z: jax.Array) -> jax.Array:
    """Share of the light that reaches the floor past the body: less below it, softer while the feet are in the air."""
    squared = (x - pose.travel[0]) ** 2 + (z - pose.travel[1]) ** 2
    return 1.0 - (0.5 - pose.lift) * jnp.exp(-squared / (0.09 + 0.2 * pose.lift))


def _shade(colour: jax.Array, normal: jax.Array, rays: jax.Array, light: jax.Array) -> jax.Array:
    """Wrapped diffuse light from one side and above, darker where the surface turns away from the viewer."""
    towards = -jnp.sum(normal * rays, axis=0) / jnp.linalg.norm(rays, axis=0)
    diffuse = 0.5 + 0.5 * jnp.tensordot(light, normal, 1)
    sky = 0.5 + 0.5 * normal[1]
    return colour * (0.38 + 0.62 * diffuse + 0.15 * sky) * (0.60 + 0.40 * jnp.clip(towards, 0.0, 1.0) ** 0.7)


def _soften(picture: jax.Array) -> jax.Array:
    """Blurs `[H, W, 3]` linear light by a Gaussian; the border is repeated."""
    taps = jnp.exp(-0.5 * (jnp.arange(-2, 3) / _LENS) ** 2)
    for axis in (0, 1):
        padding = [(2, 2) if axis == i else (0, 0) for i in range(3)]
        padded = jnp.pad(picture, padding, mode="edge")
        shifted = [jax.lax.slice_in_dim(padded, i, i + picture.shape[axis], axis=axis) for i in range(5)]
        picture = jnp.tensordot(taps / taps.sum(), jnp.stack(shifted), 1)
    return picture


def _srgb(colour: jax.Array) -> jax.Array:
    colour = jnp.clip(colour, 0.0, 1.0)
    encoded = jnp.where(colour <= 0.0031308, colour * 12.92, 1.055 * jnp.maximum(colour, 1e-6) ** (1 / 2.4) - 0.055)
    return jnp.round(encoded * 255.0).astype(jnp.uint8)
