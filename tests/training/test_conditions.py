"""What the transformer is given in training: the frames that version 1.5 adds, and images only where it takes them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.alignment.identity import Identity
from sr_jax.alignment.identity_module import IdentityConfig
from sr_jax.alignment.structure import Structure
from sr_jax.alignment.structure_module import StructureModule, with_empty_prompt
from sr_jax.alignment.weights import WeightSchedule
from sr_jax.backbones.base import pad_frames
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.training.denoising import Denoising
from sr_jax.training.objectives import Objectives, Weighted
from tests.models.tiny_transformers import ROPE, ROPE_1_5, Predictor
from tests.training.helpers import batch_loss
from tests.training.watched import Watched, WatchedTransformer

CHANNELS = 3


class Clean(VPrediction):
    """Every timestep is 0."""

    def times_at(self, shares):
        return jnp.zeros(len(shares), jnp.int32)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    # Far from each other, beside the little noise of timestep 0.
    mean = 10 * rng.standard_normal((2, 5, 2, 2, CHANNELS), np.float32)
    arrays = {
        "latent_mean": mean,
        "latent_std": np.zeros_like(mean),
        "image_latents": rng.standard_normal((2, 2, 1, 2, 2, CHANNELS), np.float32),
        "depth_latent": mean,
        "text_embedding": np.zeros((2, 4, 6), np.float32),
        "face_embedding": np.ones((2, 5, 7), np.float32),
        "face_mask": np.ones((2, 5), np.float32),
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.fixture
def run(batch):
    """Runs the loss at timestep 0; returns what the transformer and the frozen modules are given."""

    def run(*, temporal_patch=1, image_to_video=True):
        transformer = WatchedTransformer(2, 2, CHANNELS)
        structure, identity = Watched(2, 2, CHANNELS), Watched(7)
        channels = {"in_channels": (1 + image_to_video) * CHANNELS, "out_channels": CHANNELS}
        backbone = CogVideoX(dataclasses.replace(ROPE, patch_size_t=temporal_patch, **channels))
        weight = WeightSchedule(1.0)
        objectives = {
            "structure": Weighted(weight, Structure(structure, backbone, False, "noisy", Clean())),
            "identity": Weighted(weight, Identity(identity, IdentityConfig(use_depth=False))),
        }
        stage = Denoising(backbone, transformer, Clean(), Objectives(objectives), {}, 0.0, 0.0, dict)
        batch_loss(stage)({"transformer": {}}, {"structure": {}, "identity": {}}, batch, jax.random.key(1))
        return transformer.inputs, structure.inputs, identity.inputs

    return run


@pytest.mark.parametrize(("patch", "added"), [(1, 0), (2, 1), (4, 3), (5, 0)])
def test_frames_are_added_in_front_and_cut_off_again(run, batch, patch, added):
    inputs, noisy, clean = run(temporal_patch=patch)
    mean = np.asarray(batch["latent_mean"])
    expected = np.concatenate([mean[:, :1]] * added + [mean], axis=1)
    assert inputs.shape == (2, 5 + added, 2, 2, 2 * CHANNELS)
    # The image is the condition of the first frame of all, as in the released pipelines.
    np.testing.assert_allclose(inputs[..., :CHANNELS], expected, atol=0.2)
    np.testing.assert_array_equal(inputs[:, 0, ..., CHANNELS:], batch["image_latents"][:, 1, 0])
    assert not inputs[:, 1:, ..., CHANNELS:].any()
    np.testing.assert_allclose(noisy, mean, atol=0.2)
    np.testing.assert_allclose(clean, mean, atol=0.2)


def test_added_frames_have_noise_of_their_own(run):
    inputs, *_ = run(temporal_patch=2)
    assert (inputs[:, 0, ..., :CHANNELS] != inputs[:, 1, ..., :CHANNELS]).all()


def test_a_text_to_video_model_gets_no_image(run, batch):
    inputs, *_ = run(image_to_video=False)
    assert inputs.shape == batch["latent_mean"].shape


def test_records_without_noisy_images_are_for_text_to_video_only(run, batch):
    batch["image_latents"] = batch["image_latents"][:, :1]
    with pytest.raises(UserError, match=r"no noisy first frames: prepare the videos with config\.noisy_images of 1"):
        run()
    run(image_to_video=False)


def test_padding_does_nothing_to_whole_patches(batch):
    np.testing.assert_array_equal(pad_frames(batch["latent_mean"], 5), batch["latent_mean"])


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_the_structure_module_takes_any_number_of_frames(frames):
    config = dataclasses.replace(ROPE_1_5, num_layers=1)
    module = Functional(lambda rngs: StructureModule(CogVideoX(config), rngs=rngs))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), module.abstract_params())
    latents = jnp.asarray(rng.standard_normal((2, frames, 4, 6, 4), np.float32))
    whole = module.apply(params, jnp.concatenate([latents[:, :1]] * (frames % 2) + [latents], axis=1))
    got = module.apply(params, latents)
    assert got.shape == latents.shape
    np.testing.assert_array_equal(got, whole[:, frames % 2 :])


def test_the_structure_modules_text_is_the_empty_prompt():
    config = dataclasses.replace(ROPE, num_layers=1)
    module = Functional(lambda rngs: StructureModule(CogVideoX(config), rngs=rngs, with_text=True))
    transformer = Predictor(config)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), module.abstract_params())
    text = rng.standard_normal((5, 10), np.float32)
    params = with_empty_prompt(params, text)
    latents = jnp.asarray(rng.standard_normal((2, 3, 4, 6, 4), np.float32))
    texts, times = jnp.asarray(np.stack([text, text])), jnp.zeros(2, jnp.int32)
    expected = transformer.apply(params["transformer"], latents, texts, times)
    np.testing.assert_array_equal(module.apply(params, latents), expected)
    with pytest.raises(UserError, match=r"\(4, 10\), but the structure module takes text of \(5, 10\)"):
        with_empty_prompt(params, text[1:])
