"""Tiny random diffusers autoencoders and the same weights as ours."""

import json

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX

from sr_jax.backbones.cogvideox import vae_weights as conversion
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_network import CogVideoXVAEConfig
from sr_jax.conversion.rules import convert_state_dict

# A tile is 24x20 pixels, 6x5 latents: the next one is 20 rows below or 16 columns to the right.
SMALL = {
    "block_out_channels": (4, 8, 8),
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "norm_eps": 1e-2,
    "sample_height": 48,
    "sample_width": 40,
    "scaling_factor": 0.7,
}
# As many stages as the released ones, and more than one block in each.
DEEP = SMALL | {"block_out_channels": (4, 8, 8, 12), "layers_per_block": 2, "scaling_factor": 1.15258426}


def diffusers_vae(options: dict, seed: int = 0) -> AutoencoderKLCogVideoX:
    """A model with every weight random, so that none is without effect (its own norms start trivial)."""
    stages = len(options["block_out_channels"])
    blocks = {f"{way}_block_types": [f"CogVideoX{way.title()}Block3D"] * stages for way in ("down", "up")}
    model = AutoencoderKLCogVideoX(**blocks, **options).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            scale = 0.3 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
            shift = 1.0 if "norm" in name and name.endswith("weight") and tensor.ndim == 1 else 0.0
            tensor.copy_(shift + scale * noise)
    return model


def our_vae(model: AutoencoderKLCogVideoX, **options) -> CogVideoXVAE:
    """Our codec with the model's config and weights."""
    config = conversion.config_from_diffusers(json.loads(model.to_json_string()))
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return CogVideoXVAE(config, our_params(config, tensors), **options)


def our_params(config: CogVideoXVAEConfig, tensors: dict[str, np.ndarray]) -> dict:
    """Our parameters (or gradients) from those of diffusers."""
    return convert_state_dict(conversion.rules(config), tensors)


def their_encode(model: AutoencoderKLCogVideoX, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled mean and standard deviation, in our layout."""
    with torch.no_grad():
        return tuple(run_encode(model, torch.from_numpy(video)).numpy())


def run_encode(model: AutoencoderKLCogVideoX, video: torch.Tensor) -> torch.Tensor:
    """Scaled mean and standard deviation, stacked, in our layout."""
    posterior = model.encode(to_theirs(video)).latent_dist
    return model.config.scaling_factor * torch.stack([to_ours(posterior.mean), to_ours(posterior.std)])


def run_decode(model: AutoencoderKLCogVideoX, latents: torch.Tensor) -> torch.Tensor:
    """The video of scaled latents, both in our layout, as diffusers' pipelines decode them."""
    return to_ours(model.decode(to_theirs(latents / model.config.scaling_factor)).sample)


def video(batch: int, frames: int, height: int, width: int) -> np.ndarray:
    """Noise in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (batch, frames, height, width, 3)).astype(np.float32)


def latents(batch: int, frames: int, height: int, width: int) -> np.ndarray:
    """Noise of unit variance."""
    shape = (batch, frames, height, width, SMALL["latent_channels"])
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def relative_error(ours, theirs) -> float:
    """The largest difference over the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def to_theirs(x: np.ndarray | torch.Tensor) -> torch.Tensor:
    """`[B, T, H, W, C]` to diffusers' `[B, C, T, H, W]`."""
    return torch.as_tensor(x).permute(0, 4, 1, 2, 3)


def to_ours(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_theirs`."""
    return x.permute(0, 2, 3, 4, 1)
