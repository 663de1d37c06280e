"""What stands round the person: the room, its light, a prop or two, and the camera."""

import colorsys
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sr_jax.demo.people.kinds import FRAMINGS
from sr_jax.demo.people.looks import linear_rgb

PROPS = 2
_FIELD_OF_VIEW = math.radians(30.0)  # vertical
_WALL_PATTERNS = ("plain", "panel", "disc", "window", "stripes")
_MOVE_SECONDS = 1.5
_CAMERA_MOVES = ("still", "left", "right", "closer", "back", "orbit left", "orbit right")

# What is drawn from when no framing is asked for.
_MIXED = ("full body", "knees up", "waist up")


class Room(NamedTuple):
    """A room whose floor is at y = 0, and what is in it. Colours are linear RGB in [0, 1].

    Attributes:
        low: Corner of the room with the smallest coordinates, metres, `[3]`.
        high: Corner with the largest, `[3]`.
        wall: Wall colour, `[3]`.
        accent: Colour of the pattern on the back wall, `[3]`.
        floor: Floor colour, `[3]`.
        pattern: Strength of each of the patterns panel, disc, window and stripes, `[4]`.
        pattern_place: Centre of the pattern on the back wall (x, y) and its size, metres, `[3]`.
        light: Direction to the light, unit length, `[3]`.
        prop_centres: Centres of the props' ellipsoids, metres, `[2, 3]`.
        prop_radii: Their half axes, metres, `[2, 3]`.
        prop_colours: `[2, 3]`.
    """

    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    wall: Float[np.ndarray, "3"]
    accent: Float[np.ndarray, "3"]
    floor: Float[np.ndarray, "3"]
    pattern: Float[np.ndarray, "4"]
    pattern_place: Float[np.ndarray, "3"]
    light: Float[np.ndarray, "3"]
    prop_centres: Float[np.ndarray, "2 3"]
    prop_radii: Float[np.ndarray, "2 3"]
    prop_colours: Float[np.ndarray, "2 3"]


class Camera(NamedTuple):
    """A pinhole camera over a clip of F frames.

    Attributes:
        position: `[F, 3]`, metres.
        rotation: Camera to world, `[F, 3, 3]`; its columns point right, down and forward in the picture.
    """

    position: Float[np.ndarray, "f 3"]
    rotation: Float[np.ndarray, "f 3 3"]


def sample_room(rng: np.random.Generator) -> Room:
    """Draws a room in quiet colours, so that the person stands out."""
    hue, saturation = rng.random(), rng.uniform(0.05, 0.4)
    value = rng.uniform(0.62, 0.97)
    wall = colorsys.hsv_to_rgb(hue, saturation, value)
    accent = colorsys.hsv_to_rgb((hue + rng.uniform(-0.2, 0.2)) % 1, saturation, value * rng.uniform(0.72, 0.88))
    floor = colorsys.hsv_to_rgb(rng.uniform(0.05, 0.15), rng.uniform(0.05, 0.5), rng.uniform(0.35, 0.75))
    pattern = np.eye(len(_WALL_PATTERNS))[rng.choice(len(_WALL_PATTERNS), p=(0.5, 0.2, 0.12, 0.1, 0.08))][1:]
    back = rng.uniform(-2.6, -1.1)
    centres, radii, colours = _sample_props(rng, back)
    direction = np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.2)])
    return Room(
        low=_floats([-rng.uniform(2.2, 4.0), 0.0, back]),
        high=_floats([rng.uniform(2.2, 4.0), 4.0, 9.0]),
        wall=linear_rgb(np.array(wall)),
        accent=linear_rgb(np.array(accent)),
        floor=linear_rgb(np.array(floor)),
        pattern=_floats(pattern),
        pattern_place=_floats([rng.uniform(-0.7, 0.7), rng.uniform(1.1, 1.6), rng.uniform(0.35, 0.6)]),
        light=_floats(direction / np.linalg.norm(direction)),
        prop_centres=centres,
        prop_radii=radii,
        prop_colours=colours,
    )


def sample_framing(rng: np.random.Generator, whole_body: bool) -> str:
    """Draws how much of the person is in the picture: "full body", "knees up" or "waist up"."""
    return str(rng.choice(_MIXED, p=(0.4, 0.6, 0.0) if whole_body else (0.08, 0.47, 0.45)))


def sample_camera(
    rng: np.random.Generator, framing: str, body_height: float, reach: float, time: Float[np.ndarray, "f"]
) -> tuple[Camera, str]:
    """Draws a camera that looks at a person near the origin.

    Args:
        rng: Source of the draws.
        framing: As drawn by `sample_framing`, or "hips up", in which a head is about as large as fits beside its arms.
        body_height: The person's height relative to the usual.
        reach: How high the person jumps, metres.
        time: Times of the frames, seconds.

    Returns:
        The camera and the name of its move, "still" for the most part.
    """
    move = str(rng.choice(_CAMERA_MOVES, p=(0.58, 0.08, 0.08, 0.07, 0.07, 0.06, 0.06)))
    visible, top = FRAMINGS[framing]
    visible = visible * body_height * rng.uniform(0.97, 1.05) + 0.5 * reach
    distance = visible / (2 * math.tan(_FIELD_OF_VIEW / 2))
    top = top * body_height + 0.7 * reach
    centre = np.array([rng.uniform(-0.06, 0.06), top - visible / 2, 0.0])
    # A camera is as fast in a short clip as in a long one.
    elapsed = 0.5 + (time - time[-1] / 2) / _MOVE_SECONDS
    angle = np.full(len(time), rng.uniform(-0.15, 0.15))
    rise = rng.uniform(-0.05, 0.25)
    sideways = np.zeros(len(time))
    if move in ("left", "right"):
        sideways = (elapsed - 0.5) * rng.uniform(0.2, 0.35) * (1 if move == "right" else -1)
    if move in ("closer", "back"):
        zoom = elapsed if move == "back" else 1 - elapsed
        distance = distance * (0.95 + zoom * rng.uniform(0.12, 0.22))
    if move.startswith("orbit"):
        angle = angle + (elapsed - 0.5) * rng.uniform(0.35, 0.6) * (1 if move == "orbit right" else -1)
    target = centre + sideways[:, None] * np.array([1.0, 0.0, 0.0])
    offset = np.stack([np.sin(angle) * distance, np.full(len(time), rise), np.cos(angle) * distance], axis=1)
    return look_at(target + offset, target), move


def look_at(position: Float[np.ndarray, "f 3"], target: Float[np.ndarray, "f 3"]) -> Camera:
    """A level camera at `position` that looks at `target`."""
    forward = target - position
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    return Camera(_floats(position), _floats(np.stack([right, down, forward], axis=-1)))


def focal_length(height: int) -> float:
    """Focal length in pixels of a picture `height` pixels high."""
    return height / (2.0 * math.tan(_FIELD_OF_VIEW / 2))


def _sample_props(rng: np.random.Generator, back: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball, a pillar or a bush beside the person; hidden props lie below the floor."""
    centres, radii = np.tile([0.0, -1.0, 0.0], (PROPS, 1)), np.full((PROPS, 3), 0.01)
    hues = rng.random(PROPS)
    colours = np.array([colorsys.hsv_to_rgb(hue, rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9)) for hue in hues])
    kind = rng.choice(["none", "ball", "pillar", "bush"], p=(0.73, 0.09, 0.09, 0.09))
    x, z = rng.choice([-1.0, 1.0]) * rng.uniform(0.55, 0.85), back + rng.uniform(0.35, 0.6)
    if kind == "ball":
        size = rng.uniform(0.16, 0.26)
        centres[0], radii[0] = (x, size, z), size
    if kind == "pillar":
        centres[0], radii[0] = (x, 1.5, z), (0.16, 4.0, 0.16)
    if kind == "bush":
        centres[0], radii[0], colours[0] = (x, 0.95, z), (0.24, 0.42, 0.24), (0.25, 0.55, 0.25)
        centres[1], radii[1], colours[1] = (x, 0.15, z), (0.14, 0.45, 0.14), (0.6, 0.4, 0.3)
    return _floats(centres), _floats(radii), linear_rgb(colours)


def _floats(values) -> np.ndarray:
    return np.asarray(values, np.float32)
