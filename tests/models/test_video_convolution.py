"""All forms against a convolution written out in NumPy, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.models import video_convolution
from sr_jax.models.video_convolution import Forms
from tests.comparison import relative_error

MINIMAL = Forms(video_convolution.filter_frames, video_convolution.convolve_phases)
DIRECT = Forms(video_convolution.convolve_volume, None)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolved(x, kernel):
    """Of `[B, T, H, W, C]` with `[T_k, 3, 3, C, D]`: zeros around rows and columns, nothing around frames."""
    b, t, h, w, _ = x.shape
    x, kernel = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))), kernel.astype(np.float64)
    out = np.zeros((b, t - len(kernel) + 1, h, w, kernel.shape[-1]))
    for i, j, k in itertools.product(range(len(kernel)), range(3), range(3)):
        out += x[:, i : i + out.shape[1], j : j + h, k : k + w] @ kernel[i, j, k]
    return out


@pytest.mark.parametrize("forms", [MINIMAL, DIRECT], ids=["minimal", "direct"])
@pytest.mark.parametrize("frames", [1, 3, 6, 8, 9])
@pytest.mark.parametrize("begins", [True, False])
def test_no_later_frame_is_seen_and_the_first_stands_for_those_before(forms, frames, begins):
    x, kernel = draw(2, frames, 3, 5, 4), draw(3, 3, 3, 4, 6, seed=1)
    past = np.repeat(x[:, :1], 2, axis=1) if begins else draw(2, 2, 3, 5, 4, seed=2)
    ours = video_convolution.causal(jnp.asarray(x), None if begins else jnp.asarray(past), jnp.asarray(kernel), forms)
    assert relative_error(ours, convolved(np.concatenate([past, x], axis=1), kernel)) < 2e-6


def test_gradients_of_both_forms_agree():
    frames = 9
    x, kernel, weights = draw(1, frames, 3, 5, 4), draw(3, 3, 3, 4, 6, seed=1), draw(1, frames, 3, 5, 6, seed=2)

    def gradients(forms):
        def loss(x, kernel):
            return jnp.sum(video_convolution.causal(x, None, kernel, forms) * weights)

        return jax.grad(loss, argnums=(0, 1))(jnp.asarray(x), jnp.asarray(kernel))

    for ours, expected in zip(gradients(MINIMAL), gradients(DIRECT), strict=True):
        assert relative_error(ours, expected) < 5e-6


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5)])
def test_enlarged_frames_are_convolved(height, width):
    x, kernel = draw(2, 3, height, width, 4), draw(3, 3, 4, 6, seed=1)
    expected = convolved(x.repeat(2, axis=2).repeat(2, axis=3), kernel[None])
    assert relative_error(MINIMAL.enlarged(jnp.asarray(x), jnp.asarray(kernel)), expected) < 2e-6


def test_frames_are_filtered_in_float32_on_a_cpu_where_they_are_large():
    assert video_convolution.choose("cpu", jnp.float32, 16, 24) == MINIMAL
    for choice in (("cpu", jnp.bfloat16, 16, 24), ("cpu", jnp.float32, 8, 12), ("tpu", jnp.float32, 16, 24)):
        assert video_convolution.choose(*choice) == DIRECT
