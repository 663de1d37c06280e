"""A tiny CLIP with random weights, which are named as in transformers."""

from collections.abc import Mapping

import numpy as np

from tests.originals.recording import random_weights

_TOWER = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3}
FIELDS = {
    "model_type": "clip",
    "projection_dim": 10,
    "vision_config": _TOWER | {"image_size": 24, "patch_size": 8},
    "text_config": _TOWER
    | {"hidden_size": 16, "num_attention_heads": 2, "vocab_size": 30, "max_position_embeddings": 9}
    | {"bos_token_id": 28, "eos_token_id": 29, "pad_token_id": 29, "hidden_act": "gelu"},
}
"""Of `config.json`; the two transformers differ in width, heads and activation."""


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every one random, so that none is without effect."""

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        if name.endswith("position_ids"):
            return np.arange(np.prod(shape)).reshape(shape)
        if "norm" in name and name.endswith("weight"):
            return 1 + np.float32(0.3) * noise
        if len(shape) > 1 and "embedding.weight" not in name:
            return noise / np.sqrt(np.float32(np.prod(shape[1:])))
        return np.float32(0.5) * noise

    tensors = random_weights(shapes, 0, rule)
    return {name: t.astype(np.int64) if name.endswith("position_ids") else t for name, t in tensors.items()}
