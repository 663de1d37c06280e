import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.cogvideox.positions import rope_grid_1_0, rope_table
from sr_jax.models.layers import patchify, timestep_sinusoid, unpatchify


@pytest.mark.parametrize("dim", [32, 3072])
def test_timestep_sinusoid_matches_diffusers(original, dim):
    timesteps = np.array([0, 1, 19, 500, 999])
    expected = original("transformer").timestep_sinusoid(timesteps, dim)
    np.testing.assert_allclose(timestep_sinusoid(jnp.asarray(timesteps), dim), expected, atol=2e-4)


@pytest.mark.parametrize(("patch", "size"), [((1, 2, 2), (3, 4, 6)), ((2, 2, 2), (4, 2, 6)), ((1, 1, 1), (1, 3, 5))])
def test_patches_are_ordered_channel_frame_row_column_and_invertible(patch, size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    tokens = patchify(x, patch)
    pt, ph, pw = patch
    # The last token is the last patch.
    expected = np.asarray(x)[1, -pt:, -ph:, -pw:].transpose(3, 0, 1, 2).reshape(-1)
    np.testing.assert_array_equal(tokens[1, -1], expected)
    np.testing.assert_array_equal(unpatchify(tokens, patch, size), x)


def test_rotary_grid_at_the_base_size_is_the_index_and_keeps_the_aspect_elsewhere():
    frames, rows, columns = rope_grid_1_0((13, 30, 45), (30, 45))
    np.testing.assert_allclose(frames, np.arange(13))
    np.testing.assert_allclose(rows, np.arange(30), atol=1e-9)
    np.testing.assert_allclose(columns, np.arange(45), atol=1e-9)
    # Twice as dense a grid of the same aspect covers the same interval.
    np.testing.assert_allclose(rope_grid_1_0((1, 60, 90), (30, 45))[1], np.arange(60) / 2, atol=1e-9)


def test_rotary_attention_depends_on_distance_alone():
    cos, sin = rope_table((np.arange(4.0), np.arange(3.0), np.arange(5.0)), 32)
    q, k = np.random.default_rng(0).standard_normal((2, 32))

    def turn(x, index):
        turned = np.stack([-x[1::2], x[0::2]], axis=1).reshape(-1)
        return x * cos[index] + turned * sin[index]

    def index(t, h, w):
        return (t * 3 + h) * 5 + w

    near = turn(q, index(0, 0, 1)) @ turn(k, index(2, 1, 0))
    far = turn(q, index(1, 1, 4)) @ turn(k, index(3, 2, 3))
    np.testing.assert_allclose(near, far, rtol=1e-5)
