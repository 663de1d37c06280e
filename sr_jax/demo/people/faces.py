"""The face, painted on the head so that it turns with it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.demo.people.looks import Look

_SOFT = 0.05  # width of a painted edge, in half widths of the head


def paint_head(look: Look, local: Float[Array, "3 n"]) -> Float[Array, "3 n"]:
    """Linear RGB of points on the head.

    Args:
        look: The person.
        local: Points on the unit sphere that is the head's ellipsoid in its own space: left, up, out of the face.
    """
    face = look.face
    across, up, out = local
    front = jnp.where(out > 0.0, 1.0, 0.0)
    aside = jnp.abs(across)
    colour = jnp.broadcast_to(look.skin[:, None], local.shape)

    def paint(colour, paint_colour, amount):
        return colour + (paint_colour[:, None] - colour) * (amount * front)

    blush = look.skin * jnp.array([1.0, 0.55, 0.5])
    colour = paint(colour, blush, face.blush * _inside(_round(aside - 0.5, up + 0.28, 0.24, 0.16), 0.5))
    colour = _beard(look, colour, across, up, paint)

    bend = face.smile * 0.5 * across**2 - 0.02
    mouth = _round(across, up - face.mouth_height - bend, face.mouth_width, face.mouth_thickness)
    colour = paint(colour, look.lips, _inside(mouth))

    eye_x, eye_y = aside - face.eye_apart, up - face.eye_height
    white = _inside(_round(eye_x, eye_y, face.eye_width, face.eye_open))
    lash = _inside(_round(eye_x, eye_y - 0.03, face.eye_width + 0.05, face.eye_open + 0.04))
    colour = paint(colour, look.brow * 0.5, lash * 0.85)
    colour = paint(colour, jnp.full(3, 0.92), white)
    iris = _inside(_round(eye_x, eye_y, face.iris_size, face.iris_size * 0.85))
    pupil = _inside(_round(eye_x, eye_y, face.iris_size * 0.45, face.iris_size * 0.4))
    colour = paint(colour, look.iris, iris * white)
    colour = paint(colour, jnp.full(3, 0.01), pupil * white)

    brow_y = eye_y - face.brow_lift - face.brow_tilt * eye_x * 0.5
    colour = paint(colour, look.brow, _inside(_round(eye_x, brow_y, face.eye_width + 0.04, face.brow_thickness)))

    rim = jnp.abs(_round(eye_x, eye_y, 0.33, 0.27)) - 0.2
    bridge = _round(across, eye_y - 0.05, 0.14, 0.05)
    arms = _round(aside - 0.95, eye_y - 0.05, 0.25, 0.05)
    frames = jnp.maximum(_inside(rim), jnp.maximum(_inside(bridge), _inside(arms)))
    colour = paint(colour, look.glasses, face.glasses * frames)

    fringe = _smooth(up - face.fringe - face.parting * across + 0.12 * aside)
    return paint(colour, look.hair, fringe)


def _beard(look: Look, colour: jax.Array, across: jax.Array, up: jax.Array, paint) -> jax.Array:
    face = look.face
    # Rises towards the ears, so that the cheeks stay bare.
    jaw = _smooth(-0.36 + 0.75 * across**2 - up)
    chin = _inside(_round(across, up + 0.86, 0.32, 0.26))
    moustache = _inside(_round(across, up - face.mouth_height - 0.14 + 0.5 * across**2, 0.34, 0.065))
    amount = jnp.maximum(jnp.maximum(jaw * face.stubble, chin * face.goatee), moustache * face.moustache)
    return paint(colour, look.beard, amount)


def _round(x: jax.Array, y: jax.Array, half_width: jax.Array | float, half_height: jax.Array | float) -> jax.Array:
    """Below 0 inside an ellipse, about the distance to its edge in half axes outside."""
    return jnp.hypot(x / half_width, y / half_height) - 1.0


def _inside(distance: jax.Array, soft: float = 0.15) -> jax.Array:
    """1 inside, 0 outside, with a soft edge."""
    return jnp.clip(0.5 - distance / (2.0 * soft), 0.0, 1.0)


def _smooth(height: jax.Array) -> jax.Array:
    """1 above zero, 0 below, with a soft edge."""
    return jnp.clip(0.5 + height / (2.0 * _SOFT), 0.0, 1.0)
