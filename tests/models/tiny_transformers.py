"""Tiny CogVideoX transformers of every kind, with random weights under the names of diffusers."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.conversion.rules import convert_state_dict
from sr_jax.models.functional import Functional, Params
from tests.originals.recording import Original, random_weights

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


class Predictor(Functional):
    """A transformer of which `apply` gives the prediction alone, without hidden states."""

    def __init__(self, config: CogVideoXConfig, **options):
        super().__init__(lambda rngs: CogVideoXTransformer3D(config, rngs=rngs, **options))

    def apply(self, params, *args):
        return super().apply(params, *args)[0]


def random_transformer_weights(
    original: Callable[[str], Original], config: CogVideoXConfig, seed: int = 0
) -> dict[str, np.ndarray]:
    """Float32 weights under diffusers' names: those that `tests.originals.transformer` makes of the same seed.

    Args:
        original: The fixture of this name, which knows names and shapes.
        config: Of the transformer.
        seed: Of the weights.
    """
    return weights_of(original("transformer").shapes(dataclasses.asdict(config)), seed)


def weights_of(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Weights of these shapes, every one random, so that none is without effect (fresh gates and norms would be)."""
    return random_weights(shapes, seed, _weight)


def _weight(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
    if len(shape) > 1 and name != "patch_embed.pos_embedding":
        return noise / math.sqrt(math.prod(shape[1:]))
    is_norm_scale = ".norm" in f".{name}" and name.endswith("weight")
    return (1.0 if is_norm_scale else 0.0) + 0.3 * noise


def our_params(tensors: Mapping[str, np.ndarray], config: CogVideoXConfig) -> Params:
    """Our pure dict, in float32, from diffusers' named weights (or gradients)."""
    arrays = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    return convert_state_dict(transformer.rules(config), arrays)


def random_inputs(
    config: CogVideoXConfig, batch: int, size: tuple[int, int, int], text_length: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents `[B, T, H, W, C]`, text `[B, L, D]` and timesteps `[B]`.

    Uniform, not normal: the tails of NumPy's normal noise depend on the logarithm of the C library, and a record
    belongs to every bit of its inputs.
    """
    rng = np.random.default_rng(seed)
    latents = rng.uniform(-2, 2, (batch, *size, config.in_channels)).astype(np.float32)
    text = rng.uniform(-2, 2, (batch, text_length, config.text_embed_dim)).astype(np.float32)
    return latents, text, rng.integers(0, 1000, batch).astype(np.int32)
