"""diffusers' `AutoencoderKLCogVideoX` with the weights of `tests.models.tiny_vae`. Videos are `[B, T, H, W, C]`."""

import json

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX

from tests.models import tiny_vae


def config(options: dict) -> dict:
    """What `config.json` says of a model with these options."""
    with torch.device("meta"):
        return json.loads(_empty(options).to_json_string())


def shapes(options: dict) -> dict[str, tuple[int, ...]]:
    """Of every weight, by its name."""
    with torch.device("meta"):
        return _shapes(_empty(options))


def from_config(config_json: dict) -> tuple[dict[str, tuple[int, ...]], dict]:
    """Shapes and config of the model that diffusers makes from a `config.json`; nothing is allocated."""
    with torch.device("meta"):
        made = AutoencoderKLCogVideoX.from_config(config_json)
    return _shapes(made), json.loads(made.to_json_string())


def encode(options: dict, video: np.ndarray, tiled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scaled mean and standard deviation of the posterior."""
    return encoding(model(options, tiled), video)


def decode(options: dict, latents: np.ndarray, tiled: bool = False) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and `some_values` of the video of scaled latents, as diffusers' pipelines decode them."""
    with torch.no_grad():
        video = _run_decode(model(options, tiled), torch.from_numpy(latents)).numpy()
    return video.shape, tiny_vae.some_values(video)


def gradients(options: dict, way: str, x: np.ndarray, weights: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Gradients of a weighted sum of the output, by the weights that take part in it and by the input.

    Args:
        options: Of the model.
        way: "encode" or "decode".
        x: A video or scaled latents.
        weights: Of the sum; shaped as the video, or as mean and standard deviation stacked.
    """
    vae, x = model(options), torch.from_numpy(x).requires_grad_()
    output = {"encode": _run_encode, "decode": _run_decode}[way](vae, x)
    (output * torch.from_numpy(weights)).sum().backward()
    return {name: p.grad.numpy() for name, p in vae.named_parameters() if p.grad is not None}, x.grad.numpy()


def blended_tiles(
    options: dict, overlap: tuple[float, float], video: np.ndarray, latents: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A video encoded and latents decoded in tiles, but with simple functions in place of the networks.

    They change the size fourfold, and add the standard deviation of the tile, which only a whole tile knows.
    """
    vae = model(options)
    vae.enable_tiling(None, None, *overlap)
    vae.encoder.forward = lambda tile, conv_cache: (tile[..., ::4, ::4] + tile.std(), None)
    vae.decoder.forward = lambda tile, conv_cache: (
        tile.repeat_interleave(4, 3).repeat_interleave(4, 4) + tile.std(),
        None,
    )
    with torch.no_grad():
        encoded = vae.tiled_encode(to_theirs(torch.from_numpy(video)))
        decoded = vae.tiled_decode(to_theirs(torch.from_numpy(latents))).sample
    return to_ours(encoded).numpy(), to_ours(decoded).numpy()


def model(options: dict, tiled: bool = False) -> AutoencoderKLCogVideoX:
    """The model with its weights; not for tests, but for other modules here."""
    made = _empty(options).eval()
    weights = tiny_vae.weights(_shapes(made))
    made.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    if tiled:
        made.enable_tiling()
    return made


def encoding(vae: AutoencoderKLCogVideoX, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled mean and standard deviation of a model's posterior."""
    with torch.no_grad():
        return tuple(_run_encode(vae, torch.from_numpy(video)).numpy())


def _run_encode(vae: AutoencoderKLCogVideoX, video: torch.Tensor) -> torch.Tensor:
    posterior = vae.encode(to_theirs(video)).latent_dist
    return vae.config.scaling_factor * torch.stack([to_ours(posterior.mean), to_ours(posterior.std)])


def to_theirs(x: torch.Tensor) -> torch.Tensor:
    """`[B, T, H, W, C]` to diffusers' `[B, C, T, H, W]`."""
    return x.permute(0, 4, 1, 2, 3)


def to_ours(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_theirs`."""
    return x.permute(0, 2, 3, 4, 1)


def _run_decode(vae: AutoencoderKLCogVideoX, latents: torch.Tensor) -> torch.Tensor:
    return to_ours(vae.decode(to_theirs(latents / vae.config.scaling_factor)).sample)


def _empty(options: dict) -> AutoencoderKLCogVideoX:
    stages = len(options.get("block_out_channels", (1,) * 4))
    blocks = {f"{way}_block_types": [f"CogVideoX{way.title()}Block3D"] * stages for way in ("down", "up")}
    return AutoencoderKLCogVideoX(**blocks, **options)


def _shapes(vae: AutoencoderKLCogVideoX) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
