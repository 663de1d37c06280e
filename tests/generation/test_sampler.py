import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.generation.sampler import Denoiser, SamplingSettings, clip_key, sampling_function
from sr_jax.models.functional import Functional

T, H, W, C, L, D = 3, 4, 2, 3, 5, 6
BACKBONE = CogVideoX(CogVideoXConfig(in_channels=2 * C, out_channels=C))


class _Network(nnx.Module):
    """Mixes the channels and adds what the text and the timestep say: every input matters.

    `tests.originals.pipeline.loop` has the same one.
    """

    def __init__(self, rngs: nnx.Rngs):
        self.mix = nnx.Param(jnp.zeros((2 * C, C)))
        self.read = nnx.Param(jnp.zeros((D, C)))

    def __call__(self, hidden, text, timesteps, taps=()):
        told = (text.mean(axis=1) @ self.read.value)[:, None, None, None]
        return jnp.tanh(hidden @ self.mix.value + told) * (1 + timesteps[:, None, None, None, None] / 1000), {}


def _sampler(network, settings):
    return jax.jit(sampling_function(Denoiser(BACKBONE, network, VPrediction(), settings), num_frames=T))


def _uniform(random, largest, *shape):
    return random.uniform(-largest, largest, shape).astype(np.float32)


@pytest.fixture(scope="module")
def setup():
    random = np.random.default_rng(0)
    params = {"mix": _uniform(random, 0.5, 2 * C, C), "read": _uniform(random, 0.5, D, C)}
    images = _uniform(random, 2, 2, 1, H, W, C)
    texts = _uniform(random, 2, 2, L, D)
    no_text = _uniform(random, 2, L, D)
    keys = jnp.stack([clip_key(3, "a"), clip_key(3, "b")])
    return Functional(lambda rngs: _Network(rngs)), params, keys, images, texts, no_text


@pytest.mark.parametrize(
    ("guidance", "dynamic"), [(1.0, "none"), (1.0, "released"), (0.5, "cosine"), (6.0, "none"), (6.0, "released")]
)
def test_matches_the_pipeline_of_diffusers(original, setup, guidance, dynamic):
    network, params, keys, images, texts, no_text = setup
    settings = SamplingSettings("ddim", 10, guidance, dynamic)
    sampler = _sampler(network, settings)
    latents = sampler(params, keys, images, texts, no_text)
    options = {"num_frames": T, "num_inference_steps": 10, "guidance_scale": guidance}
    options["use_dynamic_cfg"] = dynamic == "released"
    expected = [
        original("pipeline").loop(params, 3, clip_id, image, text, no_text, options)
        for clip_id, image, text in zip("ab", images, texts, strict=True)
    ]
    assert latents.shape == (2, T, H, W, C)
    np.testing.assert_allclose(latents, expected, rtol=2e-4, atol=2e-4)


def test_a_clip_does_not_depend_on_its_batch(setup):
    network, params, keys, images, texts, no_text = setup
    sampler = _sampler(network, SamplingSettings("dpm", 5, 2.0, "none"))
    both = sampler(params, keys, images, texts, no_text)
    swapped = sampler(params, keys[::-1], images[::-1], texts[::-1], no_text)
    np.testing.assert_allclose(swapped[::-1], both, rtol=1e-5, atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 0.1


def test_without_guidance_the_network_sees_each_clip_once(setup):
    _, params, keys, images, texts, no_text = setup
    seen = []

    class Watched(_Network):
        def __call__(self, hidden, text, timesteps, taps=()):
            seen.append(hidden.shape[0])
            return super().__call__(hidden, text, timesteps, taps)

    for guidance, dynamic in ((1.0, "none"), (1.0, "released"), (0.5, "none"), (1.5, "none")):
        settings = SamplingSettings("ddim", 4, guidance, dynamic)
        sampler = _sampler(Functional(lambda rngs: Watched(rngs)), settings)
        seen.clear()
        sampler(params, keys, images, texts, no_text)
        assert set(seen) == {2 if guidance <= 1.0 else 4}


def test_clip_keys_differ_by_clip_and_seed_only():
    data = [
        np.asarray(jax.random.key_data(clip_key(*pair))).tolist() for pair in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))
    ]
    assert data[0] == data[3]
    assert len({tuple(item) for item in data}) == 3
