"""A tiny pipeline as diffusers saves it, and its import, shared by all tests; nobody changes them."""

from pathlib import Path

import pytest

from sr_jax.backbones.releases import import_pipeline
from sr_jax.conversion.importing import Source
from tests.conversion.folders import save_pipeline


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
