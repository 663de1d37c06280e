"""Checks depth the slow way: in float64, by searching each solid's axis instead of solving for the ray's entry."""

import numpy as np


def signed_distance(solids, points):
    """Distance of points `[N, 3]` to the surface of P solids in their own spaces, negative inside, `[P, N]`.

    A tapered capsule is the union of the balls along its axis; distance minus radius is convex along the axis, so a
    ternary search finds the nearest ball.
    """
    to_local, length, bottom, top = (np.asarray(leaf, np.float64) for leaf in solids[:4])
    local = np.einsum("pij,nj->pni", to_local[:, :, :3], points) + to_local[:, None, :, 3]

    def ball(share):
        along = local[..., 1] - share * length[:, None]
        radius = bottom[:, None] + share * (top - bottom)[:, None]
        return np.sqrt(local[..., 0] ** 2 + along**2 + local[..., 2] ** 2) - radius

    low, high = np.zeros(local.shape[:2]), np.ones(local.shape[:2])
    for _ in range(40):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        down = ball(left) < ball(right)
        low, high = np.where(down, low, left), np.where(down, right, high)
    return ball((low + high) / 2)


def assert_first_hits(solids, origin, directions, distance, index, *, near, far, tolerance=1e-4, steps=300):
    """Asserts that `distance` `[N]` along rays `[N, 3]` is where they first touch a solid, the one at `index`.

    Args:
        solids: Solids with one leading axis.
        origin: Start of the rays.
        directions: Their directions.
        distance: Ray parameters to check; infinite for rays that should meet nothing between `near` and `far`.
        index: Solid that each ray should meet.
        near: Ray parameter before which there is nothing.
        far: Ray parameter at which to stop looking, `[N]` or a number.
        tolerance: Metres.
        steps: Points to look at along each ray.
    """
    scale = np.linalg.norm(np.asarray(solids.to_local[:, :, :3], np.float64), ord=2, axis=(1, 2))
    distance = np.asarray(distance, np.float64)
    hits = np.isfinite(distance)
    touching = origin + distance[hits, None] * directions[hits]
    at_surface = signed_distance(solids, touching) / scale[:, None]
    rows = np.asarray(index)[hits], np.arange(hits.sum())
    np.testing.assert_allclose(at_surface[rows], 0.0, atol=tolerance)
    stop = np.where(hits, distance - tolerance, far)
    share = np.linspace(0, 1, steps)
    walk = near + share[:, None] * (stop - near)
    points = origin + walk[..., None] * directions
    before = signed_distance(solids, points.reshape(-1, 3)) / scale[:, None]
    assert before.min() > -tolerance, "a solid stands before the reported depth"
