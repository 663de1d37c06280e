"""Tiny autoencoders with random weights, and what they are given."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from sr_jax.backbones.cogvideox import vae_weights as conversion
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_network import CogVideoXVAEConfig
from sr_jax.conversion.rules import convert_state_dict
from tests.comparison import relative_error
from tests.originals.recording import Original, random_weights

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


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by diffusers' names, every one random, so that none is without effect."""

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        if len(shape) > 1:
            return noise / np.sqrt(np.float32(np.prod(shape[1:])))
        is_scale = "norm" in name and name.endswith("weight")
        return np.float32(is_scale) + np.float32(0.3) * noise

    return random_weights(shapes, 0, rule)


def our_vae(original: Callable[[str], Original], options: dict, **ours) -> CogVideoXVAE:
    """Our codec with diffusers' config and these weights.

    Args:
        original: The fixture.
        options: Of diffusers' model.
        **ours: Options of our codec.
    """
    config = conversion.config_from_diffusers(original("vae").config(options))
    return CogVideoXVAE(config, our_params(config, weights(original("vae").shapes(options))), **ours)


def our_params(config: CogVideoXVAEConfig, tensors: Mapping[str, np.ndarray]) -> dict:
    """Our parameters (or gradients) from those of diffusers."""
    return convert_state_dict(conversion.rules(config), tensors)


def video(batch: int, frames: int, height: int, width: int) -> np.ndarray:
    """Noise in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (batch, frames, height, width, 3)).astype(np.float32)


def latents(batch: int, frames: int, height: int, width: int) -> np.ndarray:
    """Noise of unit variance."""
    shape = (batch, frames, height, width, SMALL["latent_channels"])
    return np.random.default_rng(1).uniform(-1.7, 1.7, shape).astype(np.float32)


def some_values(video: ArrayLike) -> np.ndarray:
    """Every seventh value: of all frames, rows, columns and colours in turn, and enough to compare a video with."""
    return np.ravel(video)[::7]


def decoding_error(video: ArrayLike, theirs: tuple[tuple[int, ...], np.ndarray]) -> float:
    """The relative error of a video, where `tests.originals.vae.decode` tells what it should be."""
    shape, values = theirs
    assert np.shape(video) == shape
    return relative_error(some_values(video), values)
