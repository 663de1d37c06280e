"""The noisy variant of L_S: its gradient for a linear f_S, against the chain rule by hand in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.alignment.base import View
from sr_jax.alignment.structure import Structure
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.models.functional import Functional
from tests.toys.backbone import RectifiedFlow, Toy, ToyConfig

SHAPE = (3, 2, 4, 3, 5)


def _none(rngs):
    """In the place of a network's parameters, which a stand-in does not read."""
    return nnx.Linear(1, 1, rngs=rngs)


class LinearModule(Functional):
    """`f_S(z, t) = w z + t`."""

    def apply(self, params, latents, times=None):
        shift = 0 if times is None else times[:, None, None, None, None]
        return latents @ params + shift


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    names = ("latents", "noise", "prediction", "depth")
    return {name: rng.normal(size=SHAPE).astype(np.float32) for name in names} | {
        "w": rng.normal(size=SHAPE[-1:] * 2).astype(np.float32)
    }


def _value(process, arrays, times, reads, prediction, noise=None):
    """`L_S` of each sample as the stage computes it; `noise` of what the view says is that which was drawn."""
    noisy = process.add_noise(jnp.asarray(arrays["latents"]), jnp.asarray(arrays["noise"]), times)
    clean = process.predict_clean(noisy, prediction, times)
    view = View(
        clean,
        noisy,
        times,
        jnp.asarray(arrays["noise"]) if noise is None else noise(noisy, prediction),
        {},
        {"depth_latent": jnp.asarray(arrays["depth"])},
    )
    objective = Structure(LinearModule(_none), Toy(ToyConfig()), False, reads, process)
    term = objective({}, {"structure": jnp.asarray(arrays["w"])}, view, {})
    return term.value, term.output


def _gradient(*args, **kwargs):
    process, arrays, times, reads = args

    def loss(prediction):
        return _value(process, arrays, times, reads, prediction, **kwargs)[0].sum()

    return np.asarray(jax.grad(loss)(jnp.asarray(arrays["prediction"])), np.float64)


def _factors(process, times):
    """What `zt` holds of `z0` and of the noise, and `z0_hat` of noisy latent and prediction; float64."""
    if isinstance(process, RectifiedFlow):
        t = np.asarray(times, np.float64)
        return 1 - t, t, np.ones_like(t), -t
    alphas = process.alphas_cumprod[np.asarray(times)]
    signal, noise = np.sqrt(alphas), np.sqrt(1 - alphas)
    return signal, noise, signal, -noise


@pytest.mark.parametrize(
    ("process", "times"),
    [(VPrediction(), [0, 430, 800]), (VPrediction(), [990, 998, 999]), (RectifiedFlow(), [0.1, 0.6, 1.0])],
)
@pytest.mark.parametrize("reads", ["noisy", "clean"])
def test_gradient_to_the_prediction(process, times, reads, arrays):
    times = jnp.asarray(times)
    signal, noise, of_noisy, of_prediction = (x[:, None, None, None, None] for x in _factors(process, times))
    z0, eps, v, depth, w = (
        arrays[name].astype(np.float64) for name in ("latents", "noise", "prediction", "depth", "w")
    )
    clean = of_noisy * (signal * z0 + noise * eps) + of_prediction * v
    again, shift = (
        (signal, np.asarray(times, np.float64)[:, None, None, None, None]) if reads == "noisy" else (1.0, 0.0)
    )
    read = signal * clean + noise * eps if reads == "noisy" else clean
    output = read @ w + shift
    # Times of hundreds as the depth make this large; it is all compared relative to that.
    expected = of_prediction * again * (2 * (output - depth) @ w.T) / np.prod(SHAPE[1:])
    value, predicted = _value(process, arrays, times, reads, jnp.asarray(arrays["prediction"]))
    np.testing.assert_allclose(predicted, output, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value, ((output - depth) ** 2).mean(axis=(1, 2, 3, 4)), rtol=1e-5)
    gradient = _gradient(process, arrays, times, reads)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    # It is there at every time that has a signal and a noise.
    trains = (signal * noise).ravel() > 0
    assert (np.abs(gradient[trains]).max(axis=(1, 2, 3, 4)) > 1e-5).all()
    if reads == "noisy":
        np.testing.assert_array_equal(gradient[~trains], 0)


def test_with_the_predicted_noise_it_would_not_train(arrays):
    """Why the drawn noise: a prediction brought back with its own noise is the noisy latent again, whatever it is."""
    process, times = VPrediction(), jnp.asarray([100, 430, 800])
    gradient = _gradient(process, arrays, times, "noisy", noise=lambda noisy, v: process.predict_noise(noisy, v, times))
    drawn = _gradient(process, arrays, times, "noisy")
    assert np.abs(drawn).max(axis=(1, 2, 3, 4)).min() > 1e-3
    # The two paths cancel, up to the rounding of their products.
    assert (np.abs(gradient).max(axis=(1, 2, 3, 4)) < 1e-6 * np.abs(drawn).max(axis=(1, 2, 3, 4))).all()
