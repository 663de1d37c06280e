import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.demo.small_faces.detector import STRIDE, FaceDetectorConfig, FaceDetectorNetwork, find_peaks

CONFIG = FaceDetectorConfig(width=8, blocks=2, frame_height=64)


@pytest.mark.parametrize(("height", "width"), [(64, 48), (32, 80), (4, 4)])
def test_output_has_one_cell_for_each_stride(height, width):
    network = FaceDetectorNetwork(CONFIG, rngs=nnx.Rngs(0))
    outputs = network(jnp.zeros((2, height, width, 3)))
    assert outputs.shape == (2, height // STRIDE, width // STRIDE, 5)


def test_every_parameter_names_its_axes():
    _, state = nnx.split(FaceDetectorNetwork(CONFIG, rngs=nnx.Rngs(0)), nnx.Param)
    for path, variable in nnx.to_flat_state(state):
        assert len(variable.get_metadata("logical_axes")) == variable[...].ndim, path


def test_a_cell_sees_its_surroundings():
    network = FaceDetectorNetwork(CONFIG, rngs=nnx.Rngs(0))
    for block in network.blocks:
        block.second.kernel[...] = jax.random.normal(jax.random.key(1), block.second.kernel.shape)
    image = jnp.zeros((1, 64, 64, 3))
    changed = network(image.at[0, 30, 30].set(1.0)) - network(image)
    rows = np.flatnonzero(np.abs(changed).sum(axis=(0, 2, 3)) > 1e-6)
    assert rows.min() < 30 // STRIDE < rows.max()
    assert len(rows) < 16


def test_peaks_give_boxes_in_pixels():
    outputs = np.full((2, 6, 8, 5), -9.0, np.float32)
    outputs[..., 1:] = 0
    outputs[0, 2, 3] = [3.0, 0.25, -0.5, np.log(2.0), np.log(3.0)]
    outputs[0, 2, 4, 0] = 2.0
    outputs[0, 5, 7] = [1.0, 0, 0, 0, 0]
    boxes, scores = find_peaks(jnp.asarray(outputs), 3)
    np.testing.assert_allclose(scores[0, :2], jax.nn.sigmoid(jnp.array([3.0, 1.0])), rtol=1e-6)
    # The strong neighbour of the first peak is no peak of its own.
    assert float(scores[0, 2]) < 1e-3
    centre = np.array([3.75, 2.0]) * STRIDE
    half = np.array([1.0, 1.5]) * STRIDE
    np.testing.assert_allclose(boxes[0, 0], [*(centre - half), *(centre + half)], rtol=1e-5)
    np.testing.assert_allclose(boxes[0, 1], np.array([7.0, 5.0, 8.0, 6.0]) * STRIDE, rtol=1e-5)
    assert float(scores[1].max()) < 1e-3
