"""REPA and iREPA: hidden states that look like a frozen encoder's patch tokens.

    L = - mean over tokens of cos(P(h), y)

h are the hidden states behind a block, P a trained projector, y the teacher's tokens of the clean clip; every latent
frame is an image. The loss is the negative of the similarity.

REPA (Yu et al. 2024, arXiv 2410.06940; `loss.py` and `train.py` of sihyun-yu/REPA): P is an MLP of three layers, 2048
wide, with SiLU; block 8 of SiT-XL's 28; DINOv2-B; **weight 0.5**, constant.

iREPA (Singh et al. 2025, arXiv 2512.10794; `ldm/projection_loss.py` and `jit/projectors.py` of
End2End-Diffusion/iREPA): `projector="conv"`, one 3x3 convolution over the grid, and `spatial_norm`, which takes from
each channel of a frame a times its mean over the frame's tokens, and divides by its deviation:
`y' = (y - a mean(y)) / (std(y) + 1e-6)`. a (`spatial_mean`) is 1 in the paper and 0.6 in its latent diffusion recipe;
block 8 of XL, 4 of B; **weight 1**.

HASTE (arXiv 2505.16792) switches REPA off on its way: by the weight's own schedule.

Here the student is interpolated to the teacher's grid (`tokens`); the sources choose the picture's size so that the
two have one grid.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.alignment.base import Context, Term
from sr_jax.alignment.options import RepaOptions, read_options
from sr_jax.alignment.projectors import ConvProjector, MlpProjector
from sr_jax.alignment.token_objective import TokenObjective, require_block
from sr_jax.alignment.tokens import cosine, resized
from sr_jax.models.functional import Functional

_DEVIATION_EPSILON = 1e-6


def spatial_norm(tokens: Float[Array, "b t y x c"], share: float) -> Float[Array, "b t y x c"]:
    """Takes a share of the mean over a frame from each channel, and divides by its deviation (iREPA).

    Args:
        tokens: The teacher's.
        share: a, the part of the mean that is taken away.
    """
    mean = jnp.mean(tokens, axis=(2, 3), keepdims=True)
    deviation = jnp.std(tokens, axis=(2, 3), keepdims=True)
    return (tokens - share * mean) / (deviation + _DEVIATION_EPSILON)


def repa_similarity(student: Float[Array, "b t y x c"], teacher: Float[Array, "b tt yy xx c"]) -> Float[Array, " b"]:
    """The mean cosine of each sample's tokens, on the teacher's grid."""
    return jnp.mean(cosine(resized(student, teacher.shape[1:4]), teacher), axis=(1, 2, 3))


@dataclasses.dataclass(frozen=True)
class Repa(TokenObjective):
    """See the module; its published weight is 0.5, and 1 of iREPA."""

    options: RepaOptions

    def compare(self, student: Float[Array, "b t y x c"], teacher: Float[Array, "b tt yy xx c"]) -> Term:
        """`- mean cos`, and the mean cosine as similarity."""
        if self.options.spatial_norm:
            teacher = spatial_norm(teacher, self.options.spatial_mean)
        similarity = repa_similarity(student, teacher)
        return Term(-similarity, jnp.ones(similarity.shape, bool), similarity=similarity)


def build(section: Mapping[str, Any], context: Context) -> Repa:
    """The objective of a section with the keys of `RepaOptions`.

    Raises:
        UserError: For a value that an option may not have, or a block that the transformer has not.
    """
    options, backbone = read_options(RepaOptions, section, context.name), context.backbone
    require_block(backbone, options.block, f"{context.name}.block")
    sizes, dtype = (backbone.config.width,), jnp.dtype(context.dtype)

    def projector(rngs: nnx.Rngs) -> nnx.Module:
        if options.projector == "conv":
            return ConvProjector(*sizes, options.channels, rngs=rngs, dtype=dtype)
        return MlpProjector(*sizes, options.projector_width, options.channels, rngs=rngs, dtype=dtype)

    return Repa(context.name, options, Functional(projector), backbone, context.remat)
