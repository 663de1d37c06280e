import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from sr_jax.conversion.clip import config_from_fields, params_from_state_dict, read_folder
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.clip_text import prepare
from sr_jax.models.clip import CLIP, CLIPConfig, TowerConfig
from sr_jax.models.functional import Functional
from tests.comparison import relative_error
from tests.models.tiny_clip import FIELDS, weights


def _unit(vectors) -> np.ndarray:
    vectors = np.asarray(vectors)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_embeddings_are_those_of_transformers(original, tmp_path):
    tensors = weights(original("clip").shapes(FIELDS))
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(FIELDS))
    config, params = read_folder(tmp_path)
    images = np.random.default_rng(0).integers(-128, 128, (3, 24, 24, 3)).astype(np.float32) / np.float32(64)
    tokens = np.array([[28, 3, 4, 29, 29, 29, 29, 29, 29], [28, 9, 9, 5, 1, 7, 2, 11, 29]], np.int32)
    expected = original("clip").embeddings(FIELDS, images, tokens)
    network = Functional(lambda rngs: CLIP(config, rngs=rngs))
    found = jax.jit(network.apply)(params, images, tokens)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(_unit(ours), theirs) < 1e-5
        assert np.abs(theirs[0] - theirs[1]).max() > 0.05


@pytest.mark.parametrize("size", [(40, 70), (100, 33)])
def test_frames_are_prepared_as_by_transformers(original, size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_allclose(prepare(frame, 24), original("clip").prepared(frame, 24), atol=0.03)


def test_released_sizes_are_the_defaults():
    assert config_from_fields({"model_type": "clip"}) == CLIPConfig()
    large = config_from_fields(
        {
            "model_type": "clip",
            "projection_dim": 768,
            "text_config": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
            "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
            | {"intermediate_size": 4096},
        }
    )
    assert large.vision == TowerConfig(1024, 4096, 24, 16) and large.patch_size == 14 and large.embedding == 768


def test_other_models_are_refused(original, tmp_path):
    with pytest.raises(UserError, match=r"config\.json is no config of a CLIP"):
        read_folder(tmp_path)
    with pytest.raises(ValueError, match="its model_type is 'siglip'"):
        config_from_fields({"model_type": "siglip"})
    tensors = weights(original("clip").shapes(FIELDS))
    del tensors["vision_model.pre_layrnorm.bias"]
    with pytest.raises(UserError, match=r"missing: vision_model\.pre_layrnorm\.bias"):
        params_from_state_dict(config_from_fields(FIELDS), tensors)
