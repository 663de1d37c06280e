"""A tiny dataset and tiny configs of the three stages, shared by the training tests."""

import jax
import ml_collections
import pytest

from sr_jax.configs import base, stage_one
from sr_jax.configs import stage_two as stage_two_config
from sr_jax.training.loop import train
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import LORA

LATENT_CHANNELS = 4


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), clips=6, faceless=2, latent_channels=4)


@pytest.fixture(scope="session")
def tiny(dataset):
    """A function `tiny(stage, **overrides)` that shrinks a stage's real config to seconds."""

    def make(stage: str, /, **overrides) -> ml_collections.ConfigDict:
        config = {"base": base, "stage_one": stage_one, "stage_two": stage_two_config}[stage].get_config("tiny")
        transformer = {
            "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "time_embed_dim": 8,
            "text_embed_dim": 12, "max_text_seq_length": 4, "sample_frames": 5, "sample_height": 4, "sample_width": 4,
            "out_channels": LATENT_CHANNELS,
        }  # fmt: skip
        config.model.update(transformer, in_channels=2 * LATENT_CHANNELS)
        config.structure.update(transformer, in_channels=LATENT_CHANNELS, num_layers=1)
        config.identity.update(latent_channels=LATENT_CHANNELS, widths=(8,), blocks_per_stage=1, embedding_dim=8)
        config.data.dir = str(dataset)
        config.batch_size = 4
        config.num_train_steps = 4
        config.log_every = 2
        config.checkpoint_every = 2
        config.optimizer.update(name="adamw", learning_rate=1e-3, warmup_steps=1, schedule="constant")
        config.update_from_flattened_dict(overrides)
        return config

    return make


@pytest.fixture(scope="session")
def one_device():
    return jax.devices()[:1]


@pytest.fixture(scope="session")
def base_run(tiny, one_device, tmp_path_factory):
    """Workdir of a finished base run."""
    workdir = tmp_path_factory.mktemp("runs") / "base"
    train(tiny("base"), workdir, one_device)
    return workdir


@pytest.fixture(scope="session")
def stage_one_run(tiny, one_device, base_run):
    """Workdir of a finished stage one, started from the base run."""
    workdir = base_run.parent / "stage_one"
    train(tiny("stage_one", **{"init.transformer": str(base_run)}), workdir, one_device)
    return workdir


@pytest.fixture(scope="session")
def stage_two(tiny, base_run, stage_one_run):
    """A function that makes the config of a stage two on both runs."""
    named = {
        "init.transformer": base_run,
        "alignment.structure.module": stage_one_run,
        "alignment.identity.module": stage_one_run,
    }
    return lambda **overrides: tiny("stage_two", **{name: str(path) for name, path in named.items()}, **overrides)


@pytest.fixture(scope="session")
def lora_run(stage_two, one_device, tmp_path_factory):
    """Workdir of a finished SemanticREPA stage two with a LoRA."""
    workdir = tmp_path_factory.mktemp("runs") / "lora"
    train(stage_two(**LORA), workdir, one_device)
    return workdir
