"""A tiny pipeline as diffusers saves it, and its import, shared by all tests; nobody changes them."""

from pathlib import Path

import pytest

from sr_jax.backbones.releases import import_pipeline
from sr_jax.conversion.importing import Source
from tests.conversion.folders import save_pipeline
from tests.data.synthetic import write_synthetic_dataset


@pytest.fixture(scope="session")
def pipeline(original, tmp_path_factory) -> Path:
    """The folder as diffusers saves it."""
    return save_pipeline(original, tmp_path_factory.mktemp("pipeline") / "theirs")


@pytest.fixture(scope="session")
def imported(tmp_path_factory, pipeline) -> Path:
    """What an import of it wrote."""
    folder = tmp_path_factory.mktemp("imported") / "ours"
    import_pipeline(Source(pipeline, "theirs"), folder)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory, imported) -> Path:
    """A dataset that was made with its autoencoder and text encoder, with tokens of a teacher of as many channels."""
    size = {"frames": 9, "height": 32, "width": 48, "latent_channels": 4, "text_shape": (5, 10)}
    tokens = {"more_fields": {"dinov2_tokens": "t 2 3 c"}}
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), clips=4, model=imported, **size, **tokens)
