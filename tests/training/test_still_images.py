"""Clips of one frame beside videos: what the transformer is given of them, and runs on both."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.alignment.identity import Identity
from sr_jax.alignment.identity_module import IdentityConfig
from sr_jax.alignment.structure import Structure
from sr_jax.alignment.weights import WeightSchedule
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.checkpoints.reading import read_meta
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError
from sr_jax.training.denoising import Denoising
from sr_jax.training.loop import train
from sr_jax.training.objectives import Objectives, Weighted
from sr_jax.training.state import Progress
from tests.data.synthetic import write_synthetic_dataset
from tests.models.tiny_transformers import ROPE
from tests.toys.backbone import RectifiedFlow, Toy, ToyConfig
from tests.training.helpers import assert_same_bits, batch_loss, load_params
from tests.training.watched import Watched, WatchedTransformer

CHANNELS = 3
FRAME = (2, 2, CHANNELS)


def _batch(frames):
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((2, frames, *FRAME), np.float32)
    arrays = {
        "latent_mean": mean,
        "latent_std": np.zeros_like(mean),
        "image_latents": rng.standard_normal((2, 3, 1, *FRAME), np.float32),
        "depth_latent": rng.standard_normal(mean.shape, np.float32),
        "text_embedding": np.zeros((2, 4, 6), np.float32),
        "face_embedding": np.full((2, frames, 7), 0.5, np.float32),
        "face_mask": np.ones((2, frames), np.float32),
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.mark.parametrize("patch", [1, 2])
def test_no_image_is_given_of_a_still_image(patch):
    """It is all there would be to predict. (What is given of videos is in `test_conditions`.)"""
    channels = {"in_channels": 2 * CHANNELS, "out_channels": CHANNELS}
    backbone = CogVideoX(dataclasses.replace(ROPE, patch_size_t=patch, **channels))
    transformer, structure, identity = WatchedTransformer(*FRAME), Watched(*FRAME), Watched(7)
    process = VPrediction(ScheduleConfig())
    objectives = {
        "structure": Weighted(WeightSchedule(1.0), Structure(structure, backbone, False, "clean", process)),
        "identity": Weighted(WeightSchedule(1.0), Identity(identity, IdentityConfig(use_depth=False))),
    }
    stage = Denoising(backbone, transformer, process, Objectives(objectives), {}, 0.0, 0.0, dict)
    batch, frozen = _batch(1), {"structure": {}, "identity": {}}
    _, metrics = batch_loss(stage)({"transformer": {}}, frozen, batch, jax.random.key(1))
    # Version 1.5 has patches of two frames, which the image fills.
    assert transformer.inputs.shape == (2, patch, 2, 2, 2 * CHANNELS)
    assert transformer.inputs[..., :CHANNELS].all() and not transformer.inputs[..., CHANNELS:].any()
    # The frozen modules see the frame that there is, and their losses are those of the zeros that they give.
    assert structure.inputs.shape == identity.inputs.shape == (2, 1, *FRAME)
    expected = {"loss/structure": np.mean(np.square(batch["depth_latent"])), "loss/identity": 0.5}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name].compute(), value, rtol=1e-5)


def test_a_transformer_that_is_given_the_first_frame_learns_nothing_from_one_frame():
    stage = Denoising(Toy(ToyConfig()), WatchedTransformer(*FRAME), RectifiedFlow(), Objectives({}), {}, 0.0, 0.0, dict)
    first = Progress(jnp.int32(0), {})
    with pytest.raises(UserError, match="latents of T = 1 teach nothing to a transformer that is given the first 1"):
        stage.draw({}, _batch(1), jax.random.key(0), first)
    assert stage.draw({}, _batch(2), jax.random.key(0), first)["latents"].shape[1] == 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stills")
    write_synthetic_dataset(folder / "16x16", clips=4, latent_channels=4)
    write_synthetic_dataset(folder / "1x16x16", clips=4, latent_channels=4, frames=1)
    return folder


def test_that_is_told_at_the_start(tiny, data, one_device, tmp_path, monkeypatch):
    monkeypatch.setattr(CogVideoX, "given_frames", 1)
    message = r"records in .*1x16x16 do not fit: latents of T = 1 teach nothing .* leave out still images"
    with pytest.raises(UserError, match=message):
        train(tiny("base", **{"data.dir": str(data)}), tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_on_both_is_one_that_never_stopped(tiny, data, one_device, tmp_path):
    # With positions that are learned, as 5B-I2V has them.
    changes = {"data.dir": str(data), "model.use_learned_positional_embeddings": True, "model.num_layers": 1}
    train(tiny("base", **changes), tmp_path / "whole", one_device)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "4")
    assert read_meta(tmp_path / "resumed")["step"] == 2
    train(tiny("base", **changes), tmp_path / "resumed", one_device)
    resumed, whole = (load_params(tmp_path / name)[0] for name in ("resumed", "whole"))
    assert_same_bits(resumed, whole)
    meta = read_meta(tmp_path / "whole")
    assert meta["provenance"]["clip"]["sizes"] == ["16x16", "1x16x16"] and meta["num_clips"] == [4, 4]
