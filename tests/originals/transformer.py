"""The transformer of diffusers: `CogVideoXTransformer3DModel`.

`options` are the arguments of its constructor. Latents and predictions are `[B, T, H, W, C]`, text is `[B, L, D]`,
timesteps are `[B]`.
"""

import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed, get_timestep_embedding
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

from tests.models.tiny_transformers import weights_of

Options = Mapping[str, Any]
TABLE = "patch_embed.pos_embedding"


def shapes(options: Options) -> dict[str, tuple[int, ...]]:
    """Name and shape of every stored tensor, with nothing allocated."""
    with torch.device("meta"):
        model = CogVideoXTransformer3DModel(**options)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def defaults() -> dict[str, Any]:
    """Of the options."""
    parameters = inspect.signature(CogVideoXTransformer3DModel.__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


def timestep_sinusoid(timesteps: np.ndarray, dim: int) -> np.ndarray:
    """The embedding `[B, dim]` of timesteps."""
    embedding = get_timestep_embedding(torch.from_numpy(timesteps), dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    return embedding.numpy()


def forward(options: Options, seed: int, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
    """The prediction of the model with the random weights of this seed."""
    return predict(build(options, random_weights(options, seed)), latents, text, timesteps)


def gradients(
    options: Options,
    seed: int,
    latents: np.ndarray,
    text: np.ndarray,
    timesteps: np.ndarray,
    output_gradient: np.ndarray,
) -> dict[str, Any]:
    """Gradients that follow from one of the prediction: of `parameters`, by their names, of `latents` and of `text`."""
    model = build(options, random_weights(options, seed))
    leaves = [torch.from_numpy(array).requires_grad_() for array in (latents, text)]
    output = run(model, *leaves, torch.from_numpy(timesteps))
    output.backward(torch.from_numpy(output_gradient))
    return {
        "parameters": {name: parameter.grad.numpy() for name, parameter in model.named_parameters()},
        "latents": leaves[0].grad.numpy(),
        "text": leaves[1].grad.numpy(),
    }


def hidden_states(
    options: Options,
    seed: int,
    latents: np.ndarray,
    text: np.ndarray,
    timesteps: np.ndarray,
    blocks: tuple[int, ...],
) -> dict[int, np.ndarray]:
    """The video tokens `[B, N, D]` that come out of some blocks, counted from 1."""
    model, kept = build(options, random_weights(options, seed)), {}
    for block in blocks:

        def keep(module: Any, inputs: Any, output: tuple[torch.Tensor, torch.Tensor], block: int = block) -> None:
            kept[block] = output[0].numpy()

        model.transformer_blocks[block - 1].register_forward_hook(keep)
    predict(model, latents, text, timesteps)
    return {block: kept[block] for block in blocks}


def forward_of_part(
    options: Options,
    seed: int,
    layers: list[int],
    channels: int,
    latents: np.ndarray,
    text: np.ndarray,
    timesteps: np.ndarray,
) -> np.ndarray:
    """The prediction of a model that has some of the blocks of another, and takes the first of its channels."""
    whole, whole_channels = random_weights(options, seed), options["in_channels"]
    options = {**options, "num_layers": len(layers), "in_channels": channels}
    weights = {}
    for name in shapes(options):
        block = re.fullmatch(r"(transformer_blocks\.)(\d+)(\..*)", name)
        weights[name] = whole[f"{block[1]}{layers[int(block[2])]}{block[3]}" if block else name]
    kernel = weights["patch_embed.proj.weight"]
    # One of flat patches too has the channels first among its columns.
    by_channel = kernel.reshape(len(kernel), whole_channels, -1)[:, :channels]
    weights["patch_embed.proj.weight"] = by_channel.reshape(shapes(options)["patch_embed.proj.weight"])
    return predict(build(options, weights), latents, text, timesteps)


def forward_with_table(
    options: Options, seed: int, table: np.ndarray, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> np.ndarray:
    """The prediction with this learned position table `[1, positions, D]`."""
    weights = random_weights(options, seed) | {TABLE: table}
    return predict(build(options, weights), latents, text, timesteps)


def forward_without_table(
    options: Options, seed: int, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> np.ndarray:
    """The prediction with the learned position table left out: for latents of any size."""
    model = build(options, random_weights(options, seed))
    model.patch_embed.use_learned_positional_embeddings = model.patch_embed.use_positional_embeddings = False
    return predict(model, latents, text, timesteps)


def forward_with_resized_table(
    options: Options,
    seed: int,
    tokens: tuple[int, int, int],
    new_tokens: tuple[int, int, int],
    latents: np.ndarray,
    text: np.ndarray,
    timesteps: np.ndarray,
) -> np.ndarray:
    """The prediction of a model of another size, whose learned table is interpolated by PyTorch.

    Args:
        options: Of the new size.
        seed: Of the weights; the table is that of a model of the old size with this seed.
        tokens: Along T, H and W, of the old size.
        new_tokens: Of the new size.
        latents: Of the new size.
        text: See above.
        timesteps: See above.
    """
    length = options["max_text_seq_length"]
    shape = (1, length + math.prod(tokens), shapes(options)[TABLE][2])
    table = torch.from_numpy(weights_of({TABLE: shape}, seed)[TABLE])
    grid = table[:, length:].reshape(1, *tokens, shape[2]).permute(0, 4, 1, 2, 3)
    grid = torch.nn.functional.interpolate(grid, new_tokens, mode="trilinear")
    table = torch.cat([table[:, :length], grid.flatten(2).transpose(1, 2)], dim=1)
    return forward_with_table(options, seed, table.numpy(), latents, text, timesteps)


def forward_with_lora(
    options: Options, seed: int, file: Path, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray
) -> np.ndarray:
    """The prediction with the low-rank factors in a safetensors file beside the weights."""
    model = build(options, random_weights(options, seed))
    model.load_lora_adapter(safetensors.torch.load_file(file), prefix="transformer")
    return predict(model, latents, text, timesteps)


def random_weights(options: Options, seed: int) -> dict[str, np.ndarray]:
    """The weights of a seed: this and what follows is for the modules of this folder."""
    return weights_of(shapes(options), seed)


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
