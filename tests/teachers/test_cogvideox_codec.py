import json

import jax
import jax.numpy as jnp
import ml_collections
import pytest
import torch

from sr_jax.conversion.importing import Source, import_pipeline
from sr_jax.errors import UserError
from sr_jax.models.vae_tiling import Tiling
from sr_jax.teachers import registry
from sr_jax.teachers.cogvideox_codec import load_cogvideox_vae
from tests.models import vae_twin
from tests.models.vae_twin import SMALL, relative_error, their_encode


@pytest.fixture(scope="module")
def model():
    return vae_twin.diffusers_vae(SMALL).to(torch.bfloat16)


@pytest.fixture(scope="module")
def pipeline(model, tmp_path_factory):
    """A pipeline's folder with nothing but an autoencoder, in bfloat16 as released."""
    folder = tmp_path_factory.mktemp("pipeline")
    model.save_pretrained(folder / "vae")
    index = {"_class_name": "CogVideoXImageToVideoPipeline", "vae": ["diffusers", "AutoencoderKLCogVideoX"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def imported(pipeline, tmp_path_factory):
    output = tmp_path_factory.mktemp("imports") / "model"
    import_pipeline(Source(pipeline, str(pipeline)), output)
    return output


def test_the_weights_are_those_of_diffusers(model, pipeline):
    codec = load_cogvideox_vae(pipeline)
    video = vae_twin.video(1, 1, 8, 12)
    reference, _ = their_encode(model.float(), video)
    assert relative_error(codec.encode(jnp.asarray(video))[0], reference) < 1e-5


def test_every_kind_of_folder_gives_the_same_codec(pipeline, imported):
    folders = [pipeline, pipeline / "vae", imported]
    assert len({load_cogvideox_vae(folder).weight_hash for folder in folders}) == 1


def test_parameters_are_float32_on_the_first_device(imported):
    leaves = jax.tree.leaves(load_cogvideox_vae(imported, dtype=jnp.bfloat16).params)
    assert {(leaf.dtype, *leaf.devices()) for leaf in leaves} == {(jnp.dtype(jnp.float32), jax.devices()[0])}


def test_the_registry_reads_options(pipeline):
    section = {"name": "cogvideox_vae", "path": str(pipeline)}
    exact = registry.load_codec(ml_collections.ConfigDict(section))
    assert exact.tiling is None
    tiled = registry.load_codec(section | {"dtype": "bfloat16", "tiled": True})
    assert tiled.tiling == Tiling(24, 20)
    video = jnp.asarray(vae_twin.video(1, 1, 8, 12))
    assert 1e-4 < relative_error(tiled.encode(video)[0], exact.encode(video)[0]) < 5e-2


def test_a_folder_without_an_autoencoder_is_told(tmp_path):
    with pytest.raises(UserError, match="name a folder that diffusers saved"):
        load_cogvideox_vae(tmp_path)
    with pytest.raises(UserError, match="cogvideox_vae needs its weights"):
        registry.load_codec({"name": "cogvideox_vae", "path": ""})
