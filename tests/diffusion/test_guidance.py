import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.diffusion.guidance import classifier_free, guidance_scales
from sr_jax.diffusion.v_prediction import spaced_timesteps
from sr_jax.errors import UserError


def released(t: int, scale: float, steps: int) -> float:
    """The formula of diffusers' pipelines, word for word in Python's float64."""
    return 1 + scale * ((1 - math.cos(math.pi * ((steps - t) / steps) ** 5.0)) / 2)


@pytest.mark.parametrize(("scale", "steps"), [(6.0, 50), (4.5, 20)])
def test_released_guidance_is_that_of_the_released_pipelines(scale, steps):
    timesteps = spaced_timesteps("trailing", 1000, steps)
    got = guidance_scales(timesteps, "released", scale, noise_time=1000)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [released(int(t), scale, steps) for t in timesteps], rtol=1e-6)


def test_released_guidance_constants():
    got = guidance_scales(spaced_timesteps("trailing", 1000, 50), "released", 6.0, noise_time=1000)
    np.testing.assert_allclose(got[[*range(6), -1]], [2.29, 2.54, 6.97, 6.42, 2.79, 4.27, 1.12], atol=5e-3)


@pytest.mark.parametrize("noise_time", [1000, 1.0])
def test_cosine_guidance_rises_from_one_to_one_plus_scale(noise_time):
    got = guidance_scales(np.linspace(noise_time, 0, 100), "cosine", 6.0, noise_time=noise_time)
    assert np.all(np.diff(got) >= 0)
    np.testing.assert_allclose(got[[0, -1]], [1, 7], atol=1e-5)


def test_constant_guidance():
    np.testing.assert_array_equal(guidance_scales(np.array([999, 0]), "none", 3.5, noise_time=1000), [3.5, 3.5])


def test_unknown_kind_is_refused():
    with pytest.raises(UserError, match="dynamic_guidance is 'linear': choose one of none, released, cosine"):
        guidance_scales(np.array([1]), "linear", 6.0, noise_time=1000)


def test_classifier_free_extrapolates_each_clip_with_its_own_condition():
    def denoise(zt, timesteps, condition):
        text, image = condition
        return zt + (text.sum(axis=(1, 2)) + 10 * image + timesteps)[:, None, None, None, None]

    zt = jax.random.normal(jax.random.key(0), (2, 1, 2, 3, 1))
    timesteps = jnp.array([3, 5])
    image = jnp.array([1.0, 2.0])
    wanted = (jnp.array([[[1.0]], [[4.0]]]), image)
    without = (jnp.zeros((2, 1, 1)), image)
    guided = classifier_free(denoise, wanted, without, np.array([0, 3], np.float32))
    shared = np.array([10 + 3, 20 + 5])
    expected = np.asarray(zt) + (shared + 3 * np.array([1.0, 4.0])).reshape(2, 1, 1, 1, 1)
    np.testing.assert_allclose(guided(zt, timesteps, jnp.asarray(1)), expected, rtol=1e-5)


def test_a_step_without_a_scale_is_no_number_instead_of_that_of_another_step():
    def denoise(zt, times, condition):
        return zt + condition[:, None, None, None, None]

    guided = classifier_free(denoise, jnp.ones(1), jnp.zeros(1), np.full(1, 2, np.float32))
    zt = jnp.zeros((1, 1, 1, 1, 1))
    assert np.isfinite(guided(zt, jnp.zeros(1), jnp.asarray(0))).all()
    assert np.isnan(jax.jit(guided)(zt, jnp.zeros(1), jnp.asarray(1))).all()
