import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.people.bodies import pose_body
from sr_jax.demo.people.motions import JOINTS
from sr_jax.demo.people.parts import PARTS, part_maps, part_of_solids
from sr_jax.demo.people.rendering import render_clip
from tests.data.people.brute_force import signed_distance
from tests.demo.people.test_rendering import _pixel_rays, _scene


def _body(look, *posture):
    return pose_body(jax.tree.map(jnp.asarray, look), *(jnp.asarray(leaf, jnp.float32) for leaf in posture))[0]


def test_every_solid_is_of_a_part_that_lies_where_its_name_says():
    look = _scene(0, "full body", "stand")[0]
    arms_apart = np.zeros((len(JOINTS), 3))
    arms_apart[[JOINTS.index("left_shoulder"), JOINTS.index("right_shoulder")], 2] = 0.5
    solids = _body(look, arms_apart, np.zeros(2), np.zeros(()))
    linear, offset = np.asarray(solids.to_local[..., :3]), np.asarray(solids.to_local[..., 3])
    middle = np.stack([np.zeros(len(offset)), np.asarray(solids.length) / 2, np.zeros(len(offset))], axis=1)
    centres = np.linalg.solve(linear, (middle - offset)[..., None])[..., 0]
    parts = part_of_solids()
    assert len(parts) == len(centres) and set(parts) == set(range(1, len(PARTS) + 1))
    place = {name: centres[parts == number].mean(axis=0) for number, name in enumerate(PARTS, start=1)}
    # x is to the person's left.
    assert all(place[name][0] * (1 if "left" in name else -1) > 0.05 for name in PARTS[2:])
    for side in ("left", "right"):
        chain = [place[f"{side} {name}"] for name in ("upper arm", "forearm", "hand")]
        assert chain[0][1] > chain[1][1] > chain[2][1]
        assert abs(chain[0][0]) < abs(chain[1][0]) < abs(chain[2][0])
        assert place[f"{side} leg"][1] < 0.6
    assert place["head"][1] > 1.3 > place["torso"][1] > 0.7


@pytest.mark.parametrize(
    "seed, framing, motion", [(0, "full body", "jumping_jacks"), (1, "waist up", "clap"), (3, "knees up", "dance")]
)
def test_the_part_at_a_pixel_is_that_of_the_solid_that_the_depth_lies_on(seed, framing, motion):
    look, pose, room, camera = _scene(seed, framing, motion)
    _, depth, _ = render_clip(look, pose, room, camera, size=(32, 24))
    maps = part_maps(look, pose, camera, np.asarray(depth))
    frame = 1
    points = camera.position[frame] + np.asarray(depth[frame]).reshape(-1, 1) * _pixel_rays(camera, frame)
    solids = _body(look, *(leaf[frame] for leaf in pose))
    distances = np.abs(signed_distance(solids, points)) / np.linalg.norm(
        np.asarray(solids.to_local[:, :, :3], np.float64), ord=2, axis=(1, 2)
    ).reshape(-1, 1)
    touching = distances < 1e-4
    parts, found = part_of_solids(), maps[frame].reshape(-1)
    assert len(np.unique(found)) > 5
    np.testing.assert_array_equal(found > 0, touching.any(axis=0))
    assert all(found[pixel] in parts[touching[:, pixel]] for pixel in np.flatnonzero(found))


def test_what_stands_before_a_person_hides_the_part():
    look, pose, room, camera = _scene(0, "full body", "stand")
    depth = np.array(render_clip(look, pose, room, camera, size=(32, 24))[1])
    seen = part_maps(look, pose, camera, depth)
    depth[:, 10:20] = np.minimum(depth[:, 10:20], 1.0)
    hidden = part_maps(look, pose, camera, depth)
    assert (hidden[:, 10:20] == 0).all() and (seen[:, 10:20] > 0).any()
    np.testing.assert_array_equal(np.delete(hidden, range(10, 20), axis=1), np.delete(seen, range(10, 20), axis=1))
