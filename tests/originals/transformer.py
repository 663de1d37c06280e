"""The transformer of diffusers: `CogVideoXTransformer3DModel`.

`options` are the arguments of its constructor. Latents and predictions are `[B, T, H, W, C]`, text is `[B, L, D]`,
timesteps are `[B]`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

from tests.models.tiny_transformers import weights_of

Options = Mapping[str, Any]


def shapes(options: Options) -> dict[str, tuple[int, ...]]:
    """Name and shape of every stored tensor, with nothing allocated."""
    with torch.device("meta"):
        model = CogVideoXTransformer3DModel(**options)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def forward(options: Options, seed: int, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
    """The prediction of the model with the random weights of this seed."""
    model = build(options, weights_of(shapes(options), seed))
    return predict(model, latents, text, timesteps)


def build(options: Options, weights: Mapping[str, np.ndarray]) -> CogVideoXTransformer3DModel:
    """A model with these weights, which must be all that it stores."""
    model = CogVideoXTransformer3DModel(**options).eval()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    return model


def predict(
    model: CogVideoXTransformer3DModel, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> np.ndarray:
    """What a model computes."""
    with torch.no_grad():
        return run(model, *map(torch.from_numpy, (latents, text, timesteps))).numpy()


def run(
    model: CogVideoXTransformer3DModel, latents: torch.Tensor, text: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """The same with tensors and gradients, in the layout of latents here."""
    output = model(
        hidden_states=latents.permute(0, 1, 4, 2, 3),
        encoder_hidden_states=text,
        timestep=timesteps,
        ofs=None if model.config.ofs_embed_dim is None else torch.full((1,), 2.0),
        image_rotary_emb=_rotary(model.config, tuple(latents.shape[1:4])),
        return_dict=False,
    )[0]
    return output.permute(0, 1, 3, 4, 2)


def _rotary(options: Options, size: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The tables that diffusers' pipelines give their transformer for latents of a size T, H, W."""
    if not options["use_rotary_positional_embeddings"]:
        return None
    head, p, p_t = (options[name] for name in ("attention_head_dim", "patch_size", "patch_size_t"))
    frames, grid = size[0], (size[1] // p, size[2] // p)
    base = (options["sample_height"] // p, options["sample_width"] // p)
    if p_t is None:
        crops = get_resize_crop_region_for_grid(grid, base[1], base[0])
        return get_3d_rotary_pos_embed(head, crops, grid, frames)
    return get_3d_rotary_pos_embed(head, None, grid, (frames + p_t - 1) // p_t, grid_type="slice", max_size=base)
