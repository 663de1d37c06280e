"""The structure alignment module: the depth latent of a video latent (paper section 3.2).

A depth-pruned backbone that starts from evenly spaced blocks of the pretrained one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from sr_jax.backbones.base import Backbone, Inputs, pad_frames, padded_size
from sr_jax.errors import UserError
from sr_jax.models.flops import Flops
from sr_jax.models.functional import Params


class StructureModule(nnx.Module):
    """A transformer without captions and images: latents in, coloured-depth latents of the same shape out.

    Args:
        backbone: The pruned transformer; it takes no image.
        rngs: Initialisation keys.
        with_text: Whether the module holds the embedding of the empty prompt and gives it to the transformer, which
            was trained with text; without, the text has length 0. It starts at 0, is never trained, and is the text
            teacher's to set (`with_empty_prompt`).
        dtype: Compute type.
        remat: What the backward pass of the blocks keeps, one of `remat.POLICIES`.

    Raises:
        UserError: If the backbone takes an image.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        rngs: nnx.Rngs,
        with_text: bool = False,
        dtype: DTypeLike = jnp.float32,
        remat: str = "none",
    ):
        if backbone.takes_image:
            raise UserError(
                "the structure module maps latents to latents: config.structure must be a transformer that takes no "
                "image (in_channels equal to out_channels)"
            )
        # What is no parameter of an NNX module is static: the backbone is compared by identity.
        self.backbone = backbone
        self.transformer = backbone.build(rngs, dtype=dtype, remat=remat)
        self.with_text = with_text
        if with_text:
            self.empty_prompt = nnx.Param(jnp.zeros(backbone.text_shape), logical_axes=("positions", "text"))

    def __call__(
        self, latents: Float[Array, "b t h w c"], times: Shaped[Array, " b"] | None = None
    ) -> Float[Array, "b t h w c"]:
        """Predicts the depth latents.

        Args:
            latents: Clean latents (the paper's choice), or noisy ones together with their times (its ablation); of any
                number of frames, see `pad_frames`.
            times: Of noisy latents; None for clean latents, which means 0.
        """
        batch, frames = latents.shape[:2]
        if times is None:
            times = jnp.zeros((batch,), jnp.int32)
        text = jnp.zeros((0, self.backbone.text_shape[1]))
        if self.with_text:
            text = jax.lax.stop_gradient(self.empty_prompt[...])
        inputs = Inputs(
            noisy=pad_frames(latents, self.backbone.patch[0]),
            times=times,
            text=jnp.broadcast_to(text, (batch, *text.shape)),
            condition={},
        )
        return self.backbone.predict(self.transformer, inputs).prediction[:, -frames:]


def structure_flops(backbone: Backbone, with_text: bool, size: tuple[int, int, int]) -> Flops:
    """The structure module on one clip with latents of T, H and W."""
    text_length = backbone.text_shape[0] if with_text else 0
    return backbone.flops(padded_size(size, backbone.patch), text_length)


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
