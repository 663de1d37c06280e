import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.people import faces
from sr_jax.demo.people.bodies import pose_body
from sr_jax.demo.people.clothes import sample_clothes
from sr_jax.demo.people.identities import FaceShape, make_person
from sr_jax.demo.people.looks import make_look
from sr_jax.demo.people.motions import MOTIONS
from sr_jax.demo.people.primitives import ellipsoid, stack
from sr_jax.demo.people.rendering import _backdrop, _camera_rays, render_clip
from sr_jax.demo.people.scenes import look_at, sample_camera, sample_room
from tests.data.people.brute_force import assert_first_hits, signed_distance

_SIZE = (32, 24)
_FRAMES = 3


def _scene(seed, framing, motion):
    rng = np.random.default_rng(seed)
    person = make_person(seed)
    time = np.arange(_FRAMES) / 4
    pose = MOTIONS[motion].move(time, rng, "left")
    camera, _ = sample_camera(rng, framing, person.height, 0.0, time)
    return make_look(person, sample_clothes(rng, person.kind)), pose, sample_room(rng), camera


def _pixel_rays(camera, frame):
    """World directions of depth 1 through pixel centres, `[H*W, 3]`, from a field of view of 30 degrees."""
    height, width = _SIZE
    half = np.tan(np.deg2rad(15.0))
    y = ((np.arange(height) + 0.5) / height * 2 - 1) * half
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * half * width / height
    local = np.stack([*np.meshgrid(x, y), np.ones(_SIZE)], axis=-1).reshape(-1, 3)
    return local @ camera.rotation[frame].T.astype(np.float64)


def _room_depth(room, origin, rays):
    """Where each ray leaves the room: the nearest of the six planes that it heads for."""
    planes = []
    for axis in range(3):
        for wall in (room.low[axis], room.high[axis]):
            with np.errstate(divide="ignore"):
                distance = (wall - origin[axis]) / rays[:, axis]
            planes.append(np.where(distance > 0, distance, np.inf))
    return np.min(planes, axis=0)


@pytest.mark.parametrize("along", [-1e-10, 0.0, 1e-10])
def test_a_ray_along_a_wall_meets_the_one_behind_it(along):
    _, pose, room, _ = _scene(0, "waist up", "wave")
    posture = jax.tree.map(lambda leaf: jnp.asarray(leaf[0], jnp.float32), pose)
    origin, rays = jnp.array([0.0, 1.0, 2.0]), jnp.array([[along], [0.1], [-1.0]])
    distance, _ = _backdrop(room, posture, origin, rays)
    np.testing.assert_allclose(distance, 2.0 - room.low[2], rtol=1e-5)


def test_the_rays_of_a_pixel_are_spread_evenly():
    rays = np.asarray(_camera_rays(_SIZE)).reshape(3, 5, *_SIZE)
    camera = look_at(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]))._replace(rotation=np.eye(3)[None])
    centres = _pixel_rays(camera, 0).T.reshape(3, *_SIZE)
    np.testing.assert_allclose(rays[:, 2], centres, atol=1e-6)
    np.testing.assert_allclose(rays.mean(axis=1), centres, atol=1e-6)
    pixel = centres[0, 0, 1] - centres[0, 0, 0]
    for axis in (0, 1):
        steps = np.diff(np.sort((rays - centres[:, None])[axis, :, 3, 4])) / pixel
        np.testing.assert_allclose(steps, 0.2, atol=1e-4)


@pytest.mark.parametrize(
    "seed, framing, motion", [(0, "full body", "jumping_jacks"), (1, "waist up", "wave"), (2, "knees up", "dance")]
)
def test_depth_is_exact_at_every_pixel(seed, framing, motion):
    look, pose, room, camera = _scene(seed, framing, motion)
    _, depth, _ = render_clip(look, pose, room, camera, size=_SIZE)
    assert depth.shape == (_FRAMES, *_SIZE)
    frame = 1
    origin = camera.position[frame].astype(np.float64)
    rays = _pixel_rays(camera, frame)
    distance = np.asarray(depth[frame], np.float64).ravel()
    wall = _room_depth(room, origin, rays)
    on_person = distance < wall - 1e-4
    assert 0.1 < on_person.mean() < 0.9
    np.testing.assert_allclose(distance[~on_person], wall[~on_person], rtol=1e-5)

    parts = (room.prop_centres, room.prop_radii, room.prop_colours)
    props = stack([ellipsoid(jnp.eye(3), *(jnp.asarray(value) for value in prop)) for prop in zip(*parts)])
    jax_look = jax.tree.map(jnp.asarray, look)
    posture = (jnp.asarray(leaf[frame], jnp.float32) for leaf in pose)
    solids = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), pose_body(jax_look, *posture)[0], props)
    some = np.random.default_rng(seed).permutation(len(rays))[:200]
    rays, distance, wall, on_person = rays[some], distance[some], wall[some], on_person[some]
    points = origin + distance[:, None] * rays
    touched = np.abs(signed_distance(solids, points)).argmin(axis=0)
    assert_first_hits(
        solids,
        origin,
        rays,
        np.where(on_person, distance, np.inf),
        touched,
        near=1.0,
        far=np.minimum(wall, distance + 1.0) - 1e-4,
        steps=80,
    )


def test_camera_looks_along_its_forward_axis_with_right_and_down():
    camera = look_at(np.array([[0.0, 1.0, 4.0]]), np.array([[0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(camera.rotation[0], [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=1e-6)


def test_the_same_scene_gives_the_same_bits_and_colour_follows_the_look():
    look, pose, room, camera = _scene(1, "waist up", "wave")
    first = render_clip(look, pose, room, camera, size=_SIZE)
    second = render_clip(look, pose, room, camera, size=_SIZE)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
        np.testing.assert_array_equal(one, other)
    red = look._replace(top=np.array([0.8, 0.0, 0.0], np.float32))
    changed = np.asarray(render_clip(red, pose, room, camera, size=_SIZE)[0], int) - np.asarray(first[0], int)
    assert (np.abs(changed).sum(-1) > 60).mean() > 0.05
    np.testing.assert_array_equal(render_clip(red, pose, room, camera, size=_SIZE)[1], first[1])


def test_the_face_is_on_the_front_of_the_head_only():
    look = jax.tree.map(jnp.asarray, _scene(1, "waist up", "wave")[0])
    face = FaceShape(*(jnp.float32(value) for value in look.face))
    eyes = jnp.array([[face.eye_apart, -face.eye_apart], [face.eye_height] * 2, [0.9, 0.9]])
    front = faces.paint_head(look, eyes)
    assert float(jnp.abs(front - look.skin[:, None]).min(axis=1).max()) > 0.05
    np.testing.assert_allclose(front[:, 0], front[:, 1], atol=1e-6)
    back = faces.paint_head(look, eyes * jnp.array([[1.0], [1.0], [-1.0]]))
    np.testing.assert_array_equal(back, jnp.broadcast_to(look.skin[:, None], back.shape))
