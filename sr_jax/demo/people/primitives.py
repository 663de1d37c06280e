"""The one solid that people are made of, and the exact intersection of rays with it.

The solid is a tapered capsule: the convex hull of two spheres, here on the y axis of its own space, placed in the world
by an affine map. Equal spheres make a capsule, a zero length makes a sphere, and the map stretches those into flattened
chests and ellipsoid heads. A ray keeps its parameter under an affine map, so depth stays exact.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Keeps the taper defined for spheres, whose axis has no length.
_SHORTEST_AXIS = 1e-4


class Solids(NamedTuple):
    """Tapered capsules; every field may have leading axes.

    Attributes:
        to_local: World to solid, `[..., 3, 4]`.
        length: Distance between the sphere centres, `(0, 0, 0)` and `(0, length, 0)` in the solid's space, `[...]`.
        bottom: Radius of the sphere at the origin, `[...]`.
        top: Radius of the sphere at `(0, length, 0)`, `[...]`; differs from `bottom` by less than `length`.
        colour: Linear RGB in [0, 1], `[..., 3]`.
    """

    to_local: Float[Array, "*p 3 4"]
    length: Float[Array, "*p"]
    bottom: Float[Array, "*p"]
    top: Float[Array, "*p"]
    colour: Float[Array, "*p 3"]


def ellipsoid(
    rotation: Float[Array, "3 3"], centre: Float[Array, "3"], radii: Float[Array, "3"], colour: Float[Array, "3"]
) -> Solids:
    """An ellipsoid with half axes `radii` (metres) along the columns of `rotation` (solid to world)."""
    linear = rotation.T / radii[:, None]
    one = jnp.float32(1.0)
    return Solids(_affine(linear, centre), jnp.float32(_SHORTEST_AXIS), one, one, colour)


def limb(
    rotation: Float[Array, "3 3"],
    start: Float[Array, "3"],
    end: Float[Array, "3"],
    radii: Float[Array, "2"],
    colour: Float[Array, "3"],
    flatness: Float[Array, ""] | float = 1.0,
) -> Solids:
    """A tapered capsule from `start` to `end` in the world.

    Args:
        rotation: Frame of the bone (bone to world); its z axis is the direction in which the limb is flattened.
        start: Centre of the first sphere, metres.
        end: Centre of the second sphere, metres.
        radii: Radius at the start and at the end, metres; they differ by less than the limb's length.
        colour: Linear RGB in [0, 1].
        flatness: Depth of the cross section relative to its width.
    """
    axis = end - start
    length = jnp.linalg.norm(axis)
    up = axis / length
    side = jnp.cross(up, rotation[:, 2])
    side = side / jnp.linalg.norm(side)
    front = jnp.cross(side, up)
    linear = jnp.stack([side, up, front / flatness])
    return Solids(_affine(linear, start), length, radii[0], radii[1], colour)


def stack(solids: Sequence[Solids]) -> Solids:
    """Joins single solids into one `Solids` with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf, jnp.float32) for leaf in leaves]), *solids)


def first_hit(
    solids: Solids, origin: Float[Array, "3"], directions: Float[Array, "3 n"]
) -> tuple[Float[Array, "n"], Int[Array, "n"]]:
    """The nearest solid in front of `origin` along each ray.

    Args:
        solids: Solids with one leading axis; none may contain `origin`.
        origin: Where all rays start.
        directions: Directions of the rays, of any length.

    Returns:
        The ray parameter of the hit (infinite for a miss), and the index of the solid (0 for a miss).
    """

    def nearer(best, solid_and_index):
        solid, index = solid_and_index
        nearest, hit = best
        distance = _entry(solid, origin, directions)
        closer = distance < nearest
        return (jnp.where(closer, distance, nearest), jnp.where(closer, index, hit)), None

    count = solids.length.shape[0]
    rays = directions.shape[1]
    start = (jnp.full(rays, jnp.inf), jnp.zeros(rays, jnp.int32))
    best, _ = jax.lax.scan(nearer, start, (solids, jnp.arange(count, dtype=jnp.int32)))
    return best


def surface(
    solids: Solids, index: Int[Array, "n"], points: Float[Array, "3 n"]
) -> tuple[Float[Array, "3 n"], Float[Array, "3 n"], Float[Array, "3 n"]]:
    """What a solid looks like at points on its surface.

    Args:
        solids: Solids with one leading axis.
        index: The solid that each point lies on.
        points: Points in the world.

    Returns:
        The outward unit normal in the world, the point in the solid's own space, and the solid's colour.
    """
    solid = jax.tree.map(lambda leaf: leaf[index], solids)
    linear = jnp.moveaxis(solid.to_local[..., :3], 0, -1)
    local = jnp.einsum("ijn,jn->in", linear, points) + solid.to_local[..., 3].T
    sine, cosine = _taper(solid)
    # The normal points away from the centre of the inscribed sphere that touches the surface here.
    centre = jnp.clip(local[1] - jnp.hypot(local[0], local[2]) * sine / cosine, 0.0, solid.length)
    gradient = local.at[1].add(-centre)
    normal = jnp.einsum("ijn,in->jn", linear, gradient)
    normal = normal / jnp.maximum(jnp.linalg.norm(normal, axis=0), 1e-9)
    return normal, local, solid.colour.T


def _affine(linear: jax.Array, origin: jax.Array) -> jax.Array:
    return jnp.concatenate([linear, -(linear @ origin)[:, None]], axis=1)


def _taper(solid: Solids) -> tuple[jax.Array, jax.Array]:
    sine = (solid.bottom - solid.top) / solid.length
    return sine, jnp.sqrt(1.0 - sine * sine)


def _entry(solid: Solids, origin: jax.Array, directions: jax.Array) -> jax.Array:
    """Ray parameter where rays enter one solid, infinite for a miss, `[N]`."""
    to_local, length, bottom, top, _ = solid
    sine, cosine = _taper(solid)
    start = to_local[:, :3] @ origin + to_local[:, 3]
    dx, dy, dz = (to_local[i, 0] * directions[0] + to_local[i, 1] * directions[1] + to_local[i, 2] * directions[2]
                  for i in range(3))  # fmt: skip
    squared = dx * dx + dy * dy + dz * dz
    # Measured from the ray's point nearest to the solid's middle: far from it, fp32 cancels.
    shift = -(start[0] * dx + (start[1] - 0.5 * length) * dy + start[2] * dz) / squared
    x, y, z = start[0] + shift * dx, start[1] + shift * dy, start[2] + shift * dz
    planar = x * x + z * z
    planar_slope = x * dx + z * dz

    def smaller_root(a, b, c):
        discriminant = b * b - a * c
        root = (-b - jnp.sqrt(jnp.maximum(discriminant, 0.0))) / a
        return jnp.where(discriminant > 0.0, root, jnp.inf)

    def sphere(centre, radius):
        rise = y - centre
        return smaller_root(squared, planar_slope + rise * dy, planar + rise * rise - radius * radius)

    reach = bottom - sine * y
    cosine_squared = cosine * cosine
    side = smaller_root(
        cosine_squared * (dx * dx + dz * dz) - (sine * dy) ** 2,
        cosine_squared * planar_slope + sine * dy * reach,
        cosine_squared * planar - reach * reach,
    )
    height = y + side * dy
    # Centre of the inscribed sphere that touches the cone at this height; only between the two end spheres is it solid.
    centre = (height - sine * bottom) / cosine_squared
    side = jnp.where((centre >= 0.0) & (centre <= length), side, jnp.inf)
    entry = shift + jnp.minimum(side, jnp.minimum(sphere(0.0, bottom), sphere(length, top)))
    return jnp.where(entry > 0.0, entry, jnp.inf)
