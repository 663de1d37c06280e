import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.generation.sampler import SamplingSettings, clip_key, make_sampler
from sr_jax.models.functional import Functional

T, H, W, C, L, D = 3, 4, 2, 3, 5, 6


class _Network(nnx.Module):
    """Mixes the channels and adds what the text and the timestep say: every input matters."""

    def __init__(self, rngs: nnx.Rngs):
        self.mix = nnx.Param(0.3 * jax.random.normal(rngs.params(), (2 * C, C)))
        self.read = nnx.Param(0.3 * jax.random.normal(rngs.params(), (D, C)))

    def __call__(self, hidden, text, timesteps):
        told = (text.mean(axis=1) @ self.read.value)[:, None, None, None]
        return jnp.tanh(hidden @ self.mix.value + told) * (1 + timesteps[:, None, None, None, None] / 1000)


@pytest.fixture(scope="module")
def setup():
    network = Functional(lambda rngs: _Network(rngs))
    params = network.init(jax.random.key(0))
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 1, H, W, C)).astype(np.float32)
    texts = random.normal(size=(2, L, D)).astype(np.float32)
    no_text = random.normal(size=(L, D)).astype(np.float32)
    keys = jnp.stack([clip_key(3, "a"), clip_key(3, "b")])
    return network, params, keys, images, texts, no_text


def _reference(setup, row: int, *, steps: int, scale) -> np.ndarray:
    """The loop of diffusers' image-to-video pipeline with its DDIM scheduler, one clip, channels last."""
    network, params, keys, images, texts, no_text = setup
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        snr_shift_scale=1.0,
    )
    scheduler.set_timesteps(steps)
    latents = np.array(jax.random.normal(jax.random.split(keys[row])[0], (1, T, H, W, C)))
    condition = np.concatenate([images[row : row + 1], np.zeros((1, T - 1, H, W, C), np.float32)], axis=1)
    for t in scheduler.timesteps:
        inputs = np.concatenate([latents, condition], axis=-1)
        at = jnp.full((1,), int(t))
        wanted = network.apply(params, jnp.asarray(inputs), jnp.asarray(texts[row : row + 1]), at)
        without = network.apply(params, jnp.asarray(inputs), jnp.asarray(no_text[None]), at)
        velocity = np.asarray(without) + scale(int(t)) * (np.asarray(wanted) - np.asarray(without))
        latents = scheduler.step(torch.tensor(velocity), t, torch.tensor(latents)).prev_sample.numpy()
    return latents[0]


@pytest.mark.parametrize(
    ("guidance", "dynamic", "scale"),
    [
        (1.0, "none", lambda t: 1.0),
        (1.0, "released", lambda t: 1.0),
        (0.5, "cosine", lambda t: 1.0),
        (6.0, "none", lambda t: 6.0),
        (6.0, "released", lambda t: 1 + 6 * (1 - np.cos(np.pi * ((10 - t) / 10) ** 5.0)) / 2),
    ],
)
def test_matches_the_pipeline_of_diffusers(setup, guidance, dynamic, scale):
    network, params, keys, images, texts, no_text = setup
    settings = SamplingSettings("ddim", 10, guidance, dynamic)
    sampler = make_sampler(network, VPrediction(), settings, latent_frames=T)
    latents = sampler(params, keys, images, texts, no_text)
    assert latents.shape == (2, T, H, W, C)
    for row in range(2):
        np.testing.assert_allclose(latents[row], _reference(setup, row, steps=10, scale=scale), rtol=2e-4, atol=2e-4)


def test_a_clip_does_not_depend_on_its_batch(setup):
    network, params, keys, images, texts, no_text = setup
    sampler = make_sampler(network, VPrediction(), SamplingSettings("dpm", 5, 2.0, "none"), latent_frames=T)
    both = sampler(params, keys, images, texts, no_text)
    swapped = sampler(params, keys[::-1], images[::-1], texts[::-1], no_text)
    np.testing.assert_allclose(swapped[::-1], both, rtol=1e-5, atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 0.1


def test_without_guidance_the_network_sees_one_clip(setup):
    _, params, keys, images, texts, no_text = setup
    seen = []

    class Watched(_Network):
        def __call__(self, hidden, text, timesteps):
            seen.append(hidden.shape[0])
            return super().__call__(hidden, text, timesteps)

    for guidance, dynamic in ((1.0, "none"), (1.0, "released"), (0.5, "none"), (1.5, "none")):
        settings = SamplingSettings("ddim", 4, guidance, dynamic)
        sampler = make_sampler(Functional(lambda rngs: Watched(rngs)), VPrediction(), settings, latent_frames=T)
        seen.clear()
        sampler(params, keys, images, texts, no_text)
        assert set(seen) == {1 if guidance <= 1.0 else 2}


def test_clip_keys_differ_by_clip_and_seed_only():
    data = [
        np.asarray(jax.random.key_data(clip_key(*pair))).tolist() for pair in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))
    ]
    assert data[0] == data[3]
    assert len({tuple(item) for item in data}) == 3
