"""CREPA: hidden states that look like a frozen encoder's tokens of their frame, and of the frames beside it.

    L = - mean over frames f of ( S(f, f) + sum over k in {f - d, f + d} of exp(-d / tau) S(f, k) )
    S(f, k) = mean over patches of cos(P(h)[f], y[k])

P is LayerNorm and a linear layer, y the teacher's tokens of the clean clip. Neighbours outside of the clip are left
out, and what a frame has of them is added, not averaged; `divide` divides by the sum of what the neighbours and the
frame itself count, and `all_offsets` takes all distances from 1 to d. The similarity is the mean of S(f, f).

CREPA (Hwang et al. 2025, arXiv 2506.09229, eq. 6; crepavideo.github.io; `simpletuner/helpers/training/crepa.py` of
bghira/SimpleTuner, with both options): d = 1, tau = 1; block 8 of CogVideoX-5B's 42, 10 of HunyuanVideo; DINOv2-g at
518 pixels; **weight 0.5**, 1 for HunyuanVideo. SimpleTuner lets the weight decay, and switches it off when the
similarity passes 0.85 to 0.9: without, text to video comes to look washed out.

As there, the side with the more patches is interpolated to the other's rows and columns, and frames of the side with
the more of them are picked evenly (`linspace`, rounded down). Its bilinear interpolation passes over tokens where a
grid becomes much coarser; ours counts them all (`tokens`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.alignment.base import Context, Term
from sr_jax.alignment.options import CrepaOptions, read_options
from sr_jax.alignment.projectors import LinearProjector
from sr_jax.alignment.token_objective import TokenObjective, require_block
from sr_jax.alignment.tokens import resized, unit
from sr_jax.models.functional import Functional


def on_one_grid(
    student: Float[Array, "b t y x c"], teacher: Float[Array, "b tt yy xx c"]
) -> tuple[Float[Array, "b f r q c"], Float[Array, "b f r q c"]]:
    """Both on the lesser number of frames, which are picked, and on the grid of fewer patches, by interpolation."""
    frames = min(student.shape[1], teacher.shape[1])
    rows, columns = min(student.shape[2:4], teacher.shape[2:4], key=math.prod)

    def taken(tokens: Array) -> Array:
        picked = np.linspace(0, tokens.shape[1] - 1, frames).astype(int)
        return resized(tokens[:, picked], (frames, rows, columns))

    return taken(student), taken(teacher)


def crepa_similarities(
    student: Float[Array, "b t y x c"], teacher: Float[Array, "b t y x c"], options: CrepaOptions
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """The mean over frames of S(f, f), and of that with the neighbours, for each sample.

    Args:
        student: Projected hidden states.
        teacher: Tokens on the same grid.
        options: `distance`, `tau`, `all_offsets` and `divide`.
    """
    frames = student.shape[1]
    student, teacher = unit(student), unit(teacher)

    def similarity(ours: slice, theirs: slice) -> Array:
        return jnp.mean(jnp.sum(student[:, ours] * teacher[:, theirs], axis=-1), axis=(2, 3))

    own = similarity(slice(None), slice(None))
    total, counts = own, np.ones(frames, np.float32)
    for offset in range(1 if options.all_offsets else options.distance, options.distance + 1):
        if offset >= frames:
            break
        share, first, last = math.exp(-offset / options.tau), slice(None, -offset), slice(offset, None)
        for ours, theirs in ((first, last), (last, first)):
            total = total.at[:, ours].add(share * similarity(ours, theirs))
            counts[ours] += share
    total = total / counts if options.divide else total
    return jnp.mean(own, axis=1), jnp.mean(total, axis=1)


@dataclasses.dataclass(frozen=True)
class Crepa(TokenObjective):
    """See the module; its published weight is 0.5."""

    options: CrepaOptions

    def compare(self, student: Float[Array, "b t y x c"], teacher: Float[Array, "b tt yy xx c"]) -> Term:
        """The negative sum over a frame and its neighbours; the mean cosine of frames with themselves as similarity."""
        own, total = crepa_similarities(*on_one_grid(student, teacher), self.options)
        return Term(-total, jnp.ones(total.shape, bool), similarity=own)


def build(section: Mapping[str, Any], context: Context) -> Crepa:
    """The objective of a section with the keys of `CrepaOptions`.

    Raises:
        UserError: For a value that an option may not have, or a block that the transformer has not.
    """
    options, backbone = read_options(CrepaOptions, section, context.name), context.backbone
    require_block(backbone, options.block, f"{context.name}.block")
    sizes = (backbone.config.width, options.channels)
    projector = Functional(lambda rngs: LinearProjector(*sizes, rngs=rngs, dtype=jnp.dtype(context.dtype)))
    return Crepa(context.name, options, projector, backbone, context.remat)
