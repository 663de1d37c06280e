import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.people.bodies import HEAD, pose_body
from sr_jax.demo.people.clothes import sample_clothes
from sr_jax.demo.people.identities import make_person
from sr_jax.demo.people.looks import make_look
from sr_jax.demo.people.motions import JOINTS, MOTIONS, SIDES, sample_motion

# Solids of one body by name, in the order of `bodies`.
_SOLIDS = ["head", "nose", "ear", "ear", *["hair"] * 5, "neck", "chest", "shoulders", "pelvis", "skirt"] + [
    f"{side}_{part}" for side in SIDES for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")
]


def _look(number=1):
    person = make_person(number)
    look = make_look(person, sample_clothes(np.random.default_rng(number), person.kind))
    return jax.tree.map(jnp.asarray, look)


def _pose(look, lift=0.0, **turns):
    angles = np.zeros((len(JOINTS), 3), np.float32)
    for joint, turn in turns.items():
        angles[JOINTS.index(joint)] = turn
    solids, head = pose_body(look, jnp.asarray(angles), jnp.zeros(2), jnp.float32(lift))
    assert len(solids.length) == len(_SOLIDS)
    return {name: _start(solids, index) for index, name in enumerate(_SOLIDS)}, head, solids


def _start(solids, index):
    """World position of the origin of a solid's own space."""
    matrix = np.asarray(solids.to_local[index], np.float64)
    return -np.linalg.solve(matrix[:, :3], matrix[:, 3])


def test_a_standing_person_stands_on_the_floor_with_the_head_on_top():
    for number in range(4):
        look = _look(number)
        places, head, solids = _pose(look)
        assert places["left_foot"][1] == pytest.approx(places["right_foot"][1], abs=1e-5)
        assert 0.0 < places["left_foot"][1] < 0.07
        np.testing.assert_allclose(_start(solids, HEAD), head.centre, atol=1e-4)
        top = float(head.centre[1] + head.radii[1])
        assert 1.4 < top < 1.75
        # Stylised but plausible: five to six heads high.
        assert 4.8 < top / float(2 * head.radii[1]) < 6.2
        np.testing.assert_allclose(head.rotation, np.eye(3), atol=1e-6)


def test_left_is_the_persons_left():
    places, _, _ = _pose(_look(), left_shoulder=(0, 0, np.pi / 2))
    assert places["left_hand"][0] > places["left_upper_arm"][0] + 0.4
    assert abs(places["left_hand"][1] - places["left_upper_arm"][1]) < 0.01
    assert places["right_hand"][1] < places["right_upper_arm"][1] - 0.4


@pytest.mark.parametrize("side, sign", [("left", 1.0), ("right", -1.0)])
def test_joints_bend_the_way_they_are_said_to(side, sign):
    look = _look()
    places, _, _ = _pose(look, **{f"{side}_elbow": (np.pi / 2, 0, 0)})
    assert places[f"{side}_hand"][2] > 0.2, "an elbow bends the forearm forward"
    places, _, _ = _pose(look, **{f"{side}_knee": (np.pi / 2, 0, 0)})
    assert places[f"{side}_foot"][2] < -0.2, "a knee bends the shin back"
    places, _, _ = _pose(look, **{f"{side}_hip": (np.pi / 2, 0, 0)})
    assert places[f"{side}_shin"][2] > 0.2, "a hip lifts the thigh forward"
    places, _, _ = _pose(look, **{f"{side}_shoulder": (0, np.pi / 2, 0), f"{side}_elbow": (np.pi / 2, 0, 0)})
    assert sign * (places[f"{side}_hand"][0] - places[f"{side}_forearm"][0]) > 0.2, "a twist turns the forearm outward"


def test_trunk_turns_and_leans_the_way_it_is_said_to():
    look = _look()
    _, head, _ = _pose(look, root=(0, np.pi / 2, 0))
    np.testing.assert_allclose(head.rotation[:, 2], [1, 0, 0], atol=1e-6)
    _, head, _ = _pose(look, spine=(0.5, 0, 0))
    assert head.centre[2] > 0.1
    _, head, _ = _pose(look, spine=(0, 0, 0.5))
    assert head.centre[0] < -0.1


def test_the_lower_foot_rests_on_the_floor_or_is_lifted():
    look = _look()
    stand, _, _ = _pose(look)
    raised, _, _ = _pose(look, left_hip=(1.2, 0, 0), left_knee=(1.2, 0, 0))
    assert raised["right_foot"][1] == pytest.approx(stand["right_foot"][1], abs=1e-5)
    jump, _, _ = _pose(look, lift=0.25)
    assert jump["right_foot"][1] == pytest.approx(stand["right_foot"][1] + 0.25, abs=1e-5)


@pytest.mark.parametrize("name", MOTIONS)
def test_motions_are_smooth_and_move(name):
    time = np.arange(25) / 16
    for seed in range(5):
        pose = MOTIONS[name].move(time, np.random.default_rng(seed), SIDES[seed % 2])
        assert pose.angles.shape == (25, len(JOINTS), 3) and pose.travel.shape == (25, 2) and pose.lift.shape == (25,)
        assert np.isfinite(pose.angles).all() and (pose.lift >= 0).all() and pose.lift.max() < 0.4
        speed = np.abs(np.diff(pose.angles, axis=0)).max() * 16
        assert speed > 0.2, "somebody moves"
        assert speed < 25, "and does not teleport (radians a second)"


def test_violent_motions_are_faster_than_gentle_ones():
    time = np.arange(13) / 8

    def speed(motion):
        poses = [motion.move(time, np.random.default_rng(seed), "left") for seed in range(8)]
        return np.mean([np.abs(np.diff(pose.angles, axis=0)).mean() for pose in poses])

    speeds = {kind: np.mean([speed(m) for m in MOTIONS.values() if m.violent == kind]) for kind in (True, False)}
    assert speeds[True] > 1.5 * speeds[False]


def test_the_side_of_a_motion_moves():
    for side, other in (SIDES, SIDES[::-1]):
        pose = MOTIONS["wave"].move(np.arange(13) / 8, np.random.default_rng(0), side)
        moving = [np.ptp(pose.angles[:, JOINTS.index(f"{each}_elbow"), 0]) for each in (side, other)]
        assert moving[0] > 0.5 > moving[1]


def test_held_out_motions_are_drawn_only_when_asked():
    rng = np.random.default_rng(0)
    drawn = {held_out: {sample_motion(rng, held_out) for _ in range(400)} for held_out in (True, False)}
    assert drawn[True] == {name for name, motion in MOTIONS.items() if motion.held_out}
    assert drawn[False] == {name for name, motion in MOTIONS.items() if not motion.held_out}
    assert 2 <= len(drawn[True]) <= 3
