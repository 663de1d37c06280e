import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.fit_teachers.detection_loss import detection_loss

BOX = jnp.array([[8.0, 4.0, 20.0, 20.0]])  # centre (14, 12): cell (3, 3) of stride 4, offset (0, -0.5)
SEEN, UNSEEN = jnp.array([True]), jnp.array([False])


def perfect_outputs():
    outputs = np.full((1, 8, 6, 5), -12.0, np.float32)
    outputs[0, 3, 3] = [12.0, 0.0, -0.5, np.log(3.0), np.log(4.0)]
    return jnp.asarray(outputs)


def loss(outputs, visible=SEEN, boxes=BOX):
    return float(detection_loss(outputs, boxes, visible, stride=4)[0])


def test_perfect_outputs_cost_nothing():
    assert loss(perfect_outputs()) < 1e-4


def test_a_missed_face_costs_the_focal_loss_of_its_cell():
    outputs = perfect_outputs().at[0, 3, 3, 0].set(-1.0)
    p = float(jax.nn.sigmoid(-1.0))
    assert loss(outputs) == pytest.approx(-((1 - p) ** 2) * np.log(p), rel=1e-3)


def test_a_spurious_peak_costs_less_near_the_face():
    p = float(jax.nn.sigmoid(1.0))
    far = loss(perfect_outputs().at[0, 7, 0, 0].set(1.0))
    assert far == pytest.approx(-(p**2) * np.log(1 - p), rel=2e-2)
    assert loss(perfect_outputs().at[0, 3, 4, 0].set(1.0)) < 0.8 * far


def test_offset_and_size_errors_are_absolute():
    outputs = perfect_outputs().at[0, 3, 3, 1:].add(jnp.array([0.1, -0.2, 0.3, -0.4]))
    assert loss(outputs) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("visible", "boxes"), [(UNSEEN, BOX), (SEEN, BOX + 100.0)])
def test_a_frame_without_a_face_wants_an_empty_heatmap(visible, boxes):
    p = float(jax.nn.sigmoid(12.0))
    assert loss(perfect_outputs(), visible, boxes) == pytest.approx(-(p**2) * np.log(1 - p), rel=1e-2)
    assert loss(perfect_outputs().at[..., 0].set(-12.0), visible, boxes) < 1e-4


def test_frames_do_not_mix():
    outputs = jnp.concatenate([perfect_outputs(), jnp.zeros((1, 8, 6, 5))])
    both = detection_loss(outputs, jnp.concatenate([BOX, BOX]), jnp.array([True, True]), stride=4)
    assert both.shape == (2,)
    assert float(both[0]) == pytest.approx(loss(perfect_outputs()), abs=1e-6)
    assert float(both[1]) == pytest.approx(loss(jnp.zeros((1, 8, 6, 5))), rel=1e-5)
