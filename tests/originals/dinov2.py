"""transformers' `Dinov2Model` with the weights of `tests.models.tiny_dinov2`; `options` are arguments of its config."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import transformers
from torch.nn import functional

from tests.models.tiny_dinov2 import weights


def shapes(options: Mapping) -> dict[str, tuple[int, ...]]:
    """Of every weight, by its name; nothing is allocated."""
    with torch.device("meta"):
        return _shapes(_empty(options))


def features(options: Mapping, images: np.ndarray, taps: Sequence[int]) -> list[np.ndarray]:
    """Normalised features `[n, patches, width]` of images `[n, h, w, 3]`, after some of the blocks (from 0)."""
    model = _empty(options).eval()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights(_shapes(model)).items()})
    with torch.no_grad():
        states = model(torch.from_numpy(images).permute(0, 3, 1, 2), output_hidden_states=True).hidden_states
        # The first state is the embeddings'; the first token is the class's.
        return [model.layernorm(states[tap + 1])[:, 1:].numpy() for tap in taps]


def interpolated(table: np.ndarray, scale: float) -> np.ndarray:
    """Rows `[length, width]` interpolated to `scale` times as many, as the original does with its positions."""
    image = torch.from_numpy(table.T.copy())[None, :, :, None]
    return functional.interpolate(image, scale_factor=(scale, 1), mode="bicubic")[0, :, :, 0].numpy().T


def _empty(options: Mapping) -> transformers.Dinov2Model:
    return transformers.Dinov2Model(transformers.Dinov2Config(**options, patch_size=14, layer_norm_eps=1e-6))


def _shapes(model: transformers.Dinov2Model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
