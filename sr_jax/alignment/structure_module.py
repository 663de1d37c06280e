"""The structure alignment module: the depth latent of a video latent (paper section 3.2).

A depth-pruned CogVideoX transformer that starts from evenly spaced blocks of the pretrained one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D, pad_frames
from sr_jax.errors import UserError
from sr_jax.parallel.lazy import AnyArray, first_rows, take_rows

Params = dict[str, Any]


class StructureModule(nnx.Module):
    """A transformer without captions: latents in, coloured-depth latents of the same shape out.

    Args:
        config: Of the pruned transformer; as many channels in as out.
        rngs: Initialisation keys.
        with_text: Whether the module holds the embedding of the empty prompt and gives it to the transformer, which
            was trained with text; without, the text has length 0. It starts at 0, is never trained, and is the text
            teacher's to set (`with_empty_prompt`).
        dtype: Compute type.
        remat: What the backward pass of the blocks keeps, one of `remat.POLICIES`.

    Raises:
        UserError: If the channels in and out differ.
    """

    def __init__(
        self,
        config: CogVideoXConfig,
        *,
        rngs: nnx.Rngs,
        with_text: bool = False,
        dtype: DTypeLike = jnp.float32,
        remat: str = "none",
    ):
        if config.in_channels != config.out_channels:
            raise UserError(
                f"the structure module maps latents to latents: in_channels {config.in_channels} and out_channels "
                f"{config.out_channels} must be equal"
            )
        self.transformer = CogVideoXTransformer3D(config, rngs=rngs, dtype=dtype, remat=remat)
        self.with_text = with_text
        if with_text:
            text = jnp.zeros((config.max_text_seq_length, config.text_embed_dim))
            self.empty_prompt = nnx.Param(text, logical_axes=("positions", "text"))

    def __call__(
        self, latents: Float[Array, "b t h w c"], timesteps: Int[Array, "b"] | None = None
    ) -> Float[Array, "b t h w c"]:
        """Predicts the depth latents.

        Args:
            latents: Clean latents (the paper's choice), or noisy ones together with their timesteps (its ablation); of
                any number of frames, see `pad_frames`.
            timesteps: Training timesteps of noisy latents; None for clean latents, which means 0.
        """
        batch, frames = latents.shape[:2]
        if timesteps is None:
            timesteps = jnp.zeros((batch,), jnp.int32)
        config = self.transformer.config
        text = jnp.zeros((0, config.text_embed_dim))
        if self.with_text:
            text = jax.lax.stop_gradient(self.empty_prompt[...])
        padded = pad_frames(latents, config.patch[0])
        depth_latents = self.transformer(padded, jnp.broadcast_to(text, (batch, *text.shape)), timesteps)
        return depth_latents[:, -frames:]


def evenly_spaced(n_from: int, n_to: int) -> list[int]:
    """Indices of `n_to` of `n_from` blocks at even distances, the first and the last block included.

    Raises:
        UserError: If there are fewer blocks than wanted, or none are wanted.
    """
    if not 1 <= n_to <= n_from:
        raise UserError(f"cannot keep {n_to} of {n_from} transformer blocks: choose 1 to {n_from}")
    if n_to == 1:
        return [0]
    return [(2 * i * (n_from - 1) + n_to - 1) // (2 * (n_to - 1)) for i in range(n_to)]


def init_from_transformer(
    structure_params: Params, transformer_params: Params, num_layers_from: int, num_layers_to: int
) -> Params:
    """Parameters of a structure module that starts from a pretrained transformer.

    Evenly spaced blocks and all shared layers are copied. Where the transformer takes more channels, the input
    projection keeps those of the first ones: the noisy latents come before the image latents. The text, if any, stays
    what it is.

    Args:
        structure_params: Pure dict of the structure module: the shapes wanted.
        transformer_params: Pure dict of the transformer.
        num_layers_from: Blocks of the transformer.
        num_layers_to: Blocks of the structure module.

    Returns:
        A pure dict like `structure_params`, with `LazyArray` for what is a part of the transformer's.

    Raises:
        UserError: If the two do not fit, naming the parameter.
    """
    kept = evenly_spaced(num_layers_from, num_layers_to)
    return structure_params | {"transformer": _copy(structure_params["transformer"], transformer_params, kept, ())}


def with_empty_prompt(structure_params: Params, empty_prompt: Float[np.ndarray, "l e"]) -> Params:
    """Parameters of a structure module with text that has this embedding of the empty prompt.

    Raises:
        UserError: If the transformer takes text of another length or width.
    """
    wanted = structure_params["empty_prompt"].shape
    if empty_prompt.shape != wanted:
        raise UserError(
            f"the empty prompt has the shape {empty_prompt.shape}, but the structure module takes text of {wanted} "
            "(max_text_seq_length, text_embed_dim)"
        )
    return structure_params | {"empty_prompt": empty_prompt}


def _copy(wanted: Params, given: Params, kept: list[int], path: tuple[str, ...]) -> Params:
    missing = wanted.keys() - given.keys()
    if missing:
        raise UserError(
            f"the transformer has no parameter {'.'.join((*path, min(missing)))}, the structure module does"
        )
    return {
        name: _copy(value, given[name], kept, (*path, name))
        if isinstance(value, dict)
        else _copy_array(value, given[name], kept, (*path, name))
        for name, value in wanted.items()
    }


def _copy_array(wanted: Any, given: AnyArray, kept: list[int], path: tuple[str, ...]) -> AnyArray:
    if path[0] == "transformer_blocks":
        given = take_rows(given, kept)
    elif path == ("patch_embed", "proj", "kernel"):
        given = first_rows(given, wanted.shape[0])
    if given.shape != wanted.shape:
        raise UserError(f"parameter {'.'.join(path)} is {given.shape} in the transformer, {wanted.shape} wanted")
    return given
