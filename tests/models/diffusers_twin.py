"""Tiny random diffusers transformers, and the same weights as ours."""

import dataclasses

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.conversion.rules import convert_state_dict

TINY = CogVideoXConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    num_layers=2,
    in_channels=4,
    out_channels=4,
    time_embed_dim=12,
    text_embed_dim=10,
    max_text_seq_length=5,
    sample_height=8,
    sample_width=12,
    sample_frames=9,
)
ROPE = dataclasses.replace(TINY, use_rotary_positional_embeddings=True)
I2V = dataclasses.replace(ROPE, in_channels=8, use_learned_positional_embeddings=True)
ROPE_1_5 = dataclasses.replace(ROPE, patch_size_t=2, patch_bias=False, sample_height=20, sample_width=24)
I2V_1_5 = dataclasses.replace(ROPE_1_5, in_channels=8, ofs_embed_dim=12)


def diffusers_model(config: CogVideoXConfig, seed: int = 0) -> CogVideoXTransformer3DModel:
    """A model with every weight random, so that none is without effect (its own gates and norms start trivial)."""
    model = CogVideoXTransformer3DModel(**dataclasses.asdict(config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            scale = 0.3 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
            shift = 1.0 if ".norm" in f".{name}" and name.endswith("weight") and tensor.ndim == 1 else 0.0
            tensor.copy_(shift + scale * noise)
    return model


def rotary(config: CogVideoXConfig, size: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The tables that diffusers' pipelines give their transformer."""
    if not config.use_rotary_positional_embeddings:
        return None
    p, p_t = config.patch_size, config.patch_size_t
    frames, grid = size[0], (size[1] // p, size[2] // p)
    base = (config.sample_height // p, config.sample_width // p)
    if p_t is None:
        crops = get_resize_crop_region_for_grid(grid, base[1], base[0])
        return get_3d_rotary_pos_embed(config.attention_head_dim, crops, grid, frames)
    return get_3d_rotary_pos_embed(
        config.attention_head_dim, None, grid, (frames + p_t - 1) // p_t, grid_type="slice", max_size=base
    )


def run_diffusers(model: CogVideoXTransformer3DModel, config: CogVideoXConfig, latents, text, timesteps):
    """The model's output for torch inputs in our layout, `[B, T, H, W, C]`."""
    output = model(
        hidden_states=latents.permute(0, 1, 4, 2, 3),
        encoder_hidden_states=text,
        timestep=timesteps,
        ofs=None if config.ofs_embed_dim is None else torch.full((1,), 2.0),
        image_rotary_emb=rotary(config, tuple(latents.shape[1:4])),
        return_dict=False,
    )[0]
    return output.permute(0, 1, 3, 4, 2)


def our_params(tensors: dict[str, torch.Tensor], config: CogVideoXConfig) -> dict:
    """Our pure dict, in float32, from diffusers' named weights (or gradients)."""
    arrays = {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
    return convert_state_dict(transformer.rules(config), arrays)
