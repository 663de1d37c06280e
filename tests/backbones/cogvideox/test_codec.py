import json

import jax
import jax.numpy as jnp
import ml_collections
import pytest

from sr_jax.backbones import load_codec
from sr_jax.backbones.cogvideox.codec import load_cogvideox_vae
from sr_jax.backbones.cogvideox.vae_tiling import Tiling
from sr_jax.backbones.releases import import_pipeline
from sr_jax.conversion.importing import Source
from sr_jax.errors import UserError
from tests.comparison import relative_error
from tests.conversion.folders import save_vae
from tests.models import tiny_vae


@pytest.fixture(scope="module")
def pipeline(original, tmp_path_factory):
    """A pipeline's folder with nothing but an autoencoder, in bfloat16 as released."""
    folder = tmp_path_factory.mktemp("pipeline")
    save_vae(original, folder / "vae", "bfloat16")
    index = {"_class_name": "CogVideoXImageToVideoPipeline", "vae": ["diffusers", "AutoencoderKLCogVideoX"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def imported(pipeline, tmp_path_factory):
    output = tmp_path_factory.mktemp("imports") / "model"
    import_pipeline(Source(pipeline, str(pipeline)), output)
    return output


@pytest.fixture(scope="module")
def codecs(pipeline, imported):
    """The codec from every kind of folder, with the options that are taken when none are given."""
    folders = [pipeline, pipeline / "vae", imported]
    return [load_codec({"name": "cogvideox", "path": str(folder)}) for folder in folders]


def test_every_kind_of_folder_gives_the_codec_of_diffusers(original, pipeline, codecs):
    video = tiny_vae.video(1, 1, 8, 12)
    reference, _ = original("folders").encode_video(pipeline / "vae", video)
    assert relative_error(codecs[0].encode(jnp.asarray(video))[0], reference) < 1e-5
    assert len({codec.weight_hash for codec in codecs}) == 1


def test_parameters_are_float32_on_the_first_device(codecs):
    leaves = jax.tree.leaves([codec.params for codec in codecs])
    assert {(leaf.dtype, *leaf.devices()) for leaf in leaves} == {(jnp.dtype(jnp.float32), jax.devices()[0])}


def test_options_of_a_config_are_read(pipeline, codecs):
    section = {"name": "cogvideox", "path": str(pipeline), "dtype": "bfloat16", "tiled": True}
    tiled = load_codec(ml_collections.ConfigDict(section))
    assert (codecs[0].tiling, tiled.tiling) == (None, Tiling(24, 20))
    video = jnp.asarray(tiny_vae.video(1, 1, 8, 12))
    assert 1e-4 < relative_error(tiled.encode(video)[0], codecs[0].encode(video)[0]) < 5e-2


def test_a_folder_without_an_autoencoder_is_told(tmp_path):
    with pytest.raises(UserError, match="name a folder that diffusers saved"):
        load_cogvideox_vae(tmp_path)
    with pytest.raises(UserError, match="needs its weights"):
        load_codec({"name": "cogvideox", "path": ""})
