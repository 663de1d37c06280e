import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.people.primitives import ellipsoid, first_hit, limb, stack, surface
from tests.data.people.brute_force import assert_first_hits, signed_distance


def _rotation(rng):
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return jnp.asarray(matrix * np.sign(np.linalg.det(matrix)), jnp.float32)


def _solid(rng, kind):
    colour = jnp.asarray(rng.random(3), jnp.float32)
    centre = jnp.asarray(rng.uniform(-0.3, 0.3, 3), jnp.float32)
    if kind == "ellipsoid":
        return ellipsoid(_rotation(rng), centre, jnp.asarray(rng.uniform(0.05, 0.4, 3), jnp.float32), colour)
    end = centre + jnp.asarray(rng.normal(size=3) * 0.3, jnp.float32)
    length = float(jnp.linalg.norm(end - centre))
    thick = rng.uniform(0.05, 0.2)
    thin = thick if kind == "capsule" else thick + rng.uniform(0.3, 0.9) * length
    flatness = 0.5 if kind == "flat" else 1.0
    return limb(_rotation(rng), centre, end, jnp.asarray([thick, thin], jnp.float32), colour, flatness)


def _rays(rng, count=300):
    origin = np.array([0.3, 0.2, 4.0])
    targets = rng.uniform(-0.6, 0.6, (count, 3))
    directions = (targets - origin) / rng.uniform(1, 4, (count, 1))
    return origin, directions.astype(np.float32)


@pytest.mark.parametrize("kind", ["ellipsoid", "capsule", "tapered", "flat"])
def test_first_hit_of_one_solid(kind):
    rng = np.random.default_rng(len(kind))
    for _ in range(4):
        solids = stack([_solid(rng, kind)])
        origin, directions = _rays(rng)
        distance, index = first_hit(solids, jnp.asarray(origin, jnp.float32), jnp.asarray(directions.T))
        assert 0.01 < np.isfinite(distance).mean() < 1.0
        metres = np.linalg.norm(directions, axis=1)
        assert_first_hits(
            solids, origin, directions / metres[:, None], distance * metres, index, near=2.0, far=6.0, tolerance=2e-5
        )


def test_first_hit_of_many_solids_is_the_nearest():
    rng = np.random.default_rng(3)
    solids = stack([_solid(rng, kind) for kind in ("ellipsoid", "tapered", "flat", "capsule", "tapered")])
    origin, directions = _rays(rng)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distance, index = first_hit(solids, jnp.asarray(origin, jnp.float32), jnp.asarray(directions.T))
    assert len(set(np.asarray(index)[np.isfinite(distance)])) >= 4
    assert_first_hits(solids, origin, directions, np.asarray(distance), index, near=2.0, far=6.0, tolerance=2e-5)


def test_a_ray_along_the_axis_meets_the_end_ball():
    turned = jnp.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    solid = limb(turned, jnp.zeros(3), jnp.array([0.0, 0.0, 1.0]), jnp.array([0.3, 0.1]), jnp.ones(3))
    distance, _ = first_hit(stack([solid]), jnp.array([0.0, 0.0, 5.0]), jnp.array([[0.0], [0.0], [-1.0]]))
    assert float(distance[0]) == pytest.approx(3.9, abs=1e-5)


def test_nothing_behind_the_origin_is_hit():
    solids = stack([ellipsoid(jnp.eye(3), jnp.array([0.0, 0.0, 5.0]), jnp.ones(3), jnp.ones(3))])
    distance, _ = first_hit(solids, jnp.zeros(3), jnp.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 1.0]]))
    np.testing.assert_allclose(distance, [np.inf, 4.0], rtol=1e-6)


def test_normals_are_the_gradient_of_the_distance():
    rng = np.random.default_rng(5)
    solids = stack([_solid(rng, kind) for kind in ("ellipsoid", "tapered", "flat")])
    origin, directions = _rays(rng)
    distance, index = first_hit(solids, jnp.asarray(origin, jnp.float32), jnp.asarray(directions.T))
    hit = np.isfinite(distance)
    index = np.asarray(index)[hit]
    points = origin + np.asarray(distance, np.float64)[hit, None] * directions[hit]
    normal, _, colour = surface(solids, jnp.asarray(index), jnp.asarray(points.T, jnp.float32))
    step = 1e-6
    gradient = np.stack(
        [
            (signed_distance(solids, points + shift) - signed_distance(solids, points - shift))[
                index, np.arange(len(index))
            ]
            for shift in step * np.eye(3)
        ]
    )
    np.testing.assert_allclose(normal, gradient / np.linalg.norm(gradient, axis=0), atol=2e-3)
    np.testing.assert_array_equal(colour, np.asarray(solids.colour)[index].T)
