import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.small_faces.crop import crop_faces


def frames(count=2, height=40, width=30):
    rng = np.random.default_rng(0)
    small = rng.uniform(-1, 1, (count, 8, 6, 3)).astype(np.float32)
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in small])


@pytest.mark.parametrize(("height", "width"), [(40, 30), (24, 32)])
def test_a_box_of_the_crops_size_is_cut_exactly(height, width):
    images = frames(2, height, width)
    boxes = jnp.array([[3.0, 5.0, 15.0, 17.0], [10.0, 2.0, 22.0, 14.0]])
    crops = crop_faces(jnp.asarray(images), boxes, size=12, margin=1.0)
    np.testing.assert_allclose(crops[0], images[0, 5:17, 3:15], atol=1e-5)
    np.testing.assert_allclose(crops[1], images[1, 2:14, 10:22], atol=1e-5)


def test_the_longer_side_and_the_margin_make_the_square():
    images = frames()
    boxes = jnp.array([[8.0, 10.0, 12.0, 18.0]] * 2)
    crops = crop_faces(jnp.asarray(images), boxes, size=16, margin=2.0)
    np.testing.assert_allclose(crops, images[:, 6:22, 2:18], atol=1e-5)


def test_growing_equals_bilinear_interpolation():
    images = frames(1)
    crops = crop_faces(jnp.asarray(images), jnp.array([[4.0, 6.0, 14.0, 16.0]]), size=30, margin=1.0)
    expected = cv2.resize(images[0], (90, 120), interpolation=cv2.INTER_LINEAR)[18:48, 12:42]
    np.testing.assert_allclose(crops[0], expected, atol=1e-4)


def test_shrinking_averages():
    # A chessboard of single pixels averages to grey; without a wider filter it would alias.
    board = ((np.indices((40, 40)).sum(axis=0) % 2) * 2.0 - 1)[None, :, :, None].repeat(3, axis=-1)
    crop = crop_faces(jnp.asarray(board, jnp.float32), jnp.array([[3.0, 3.0, 36.5, 36.5]]), size=8, margin=1.0)
    assert np.abs(crop).max() < 0.05


def test_outside_the_frame_the_border_is_repeated():
    images = np.ones((1, 10, 10, 3), np.float32) * 0.5
    crop = crop_faces(jnp.asarray(images), jnp.array([[-6.0, -6.0, 4.0, 4.0]]), size=6, margin=1.0)
    np.testing.assert_allclose(crop, 0.5, atol=1e-6)
