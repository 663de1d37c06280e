"""TRD, the token relation distillation of VideoREPA: tokens that relate to each other as a frozen encoder's do.

    L = mean over pairs (i, j) of relu(|G_s[i, j] - G_t[i, j]| - m),    G[i, j] = cos(token i, token j)

G_s is of projected hidden states and G_t of the teacher's tokens, on one grid; tokens of one clip are paired, each with
itself too. Pairs are those within a frame (spatial), those between two frames (temporal), or all of them, as released.

VideoREPA (Zhang et al. 2025, arXiv 2505.23656; `finetune/models/cogvideox_t2v_align/lora_trainer.py` and
`finetune/scripts/multigpu_VideoREPA_5B_lora.sh` of aHapBean/VideoREPA): block 18 of CogVideoX-2B's 30 and of 5B's 42;
VideoMAEv2-B; margin m = 0.1; **weight 0.5**; 2000 steps at 1e-4 with a LoRA of rank 128 and alpha 64.

Its student's path is an MLP (3072, 2048, 2048, 768), the first latent frame dropped, since it is of one frame of the
video and the others of four, linear interpolation in time to twice the frames, and a convolution of 3x3 with a stride
of 3 to the teacher's 10x15 tokens. Here the MLP is the same, and interpolation takes the place of the convolution
(`tokens`), which fits a single pair of grids.

`first_frame` is "dropped" from both sides (as published), "compared", or "absent" from the teacher's tokens, which are
then of the frames behind it (VideoMAEv2 on frames 1 to 48: 24 frames of 10x15 tokens). A clip in which nothing can be
paired, such as a still image whose first frame is dropped, does not count.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.alignment.base import Context, Term
from sr_jax.alignment.options import TrdOptions, read_options
from sr_jax.alignment.projectors import MlpProjector
from sr_jax.alignment.token_objective import TokenObjective, require_block
from sr_jax.alignment.tokens import resized, unit
from sr_jax.models.flops import Flops
from sr_jax.models.functional import Functional


def trd_loss(
    student: Float[Array, "b t y x c"], teacher: Float[Array, "b t y x c"], margin: float, relations: str
) -> Float[Array, " b"]:
    """The mean excess of differences between the tokens' cosines, for each sample.

    Rows of the two Gram matrices are computed for one frame after the other, and again in the backward pass: of n
    tokens in t frames there are n^2 / t numbers at a time.

    Args:
        student: Projected hidden states.
        teacher: Tokens on the same grid.
        margin: m.
        relations: "spatial", "temporal" (of two frames or more) or "both".
    """
    batch, frames, rows, columns, channels = student.shape
    size = (batch, frames, rows * columns, channels)
    student, teacher = unit(student).reshape(size), unit(teacher).reshape(size)

    def excess(number: Array) -> Array:
        def gram(tokens: Array) -> Array:
            own = jax.lax.dynamic_index_in_dim(tokens, number, axis=1, keepdims=False)
            others = own[:, None] if relations == "spatial" else tokens
            return jnp.einsum("bnc,btmc->bntm", own, others, precision="highest")

        above = jax.nn.relu(jnp.abs(gram(student) - gram(teacher)) - margin)
        if relations == "temporal":
            above = above * (jnp.arange(frames) != number)[:, None]
        return above.sum(axis=(1, 2, 3))

    total = jax.lax.map(jax.checkpoint(excess, prevent_cse=False), jnp.arange(frames)).sum(axis=0)
    return total / (rows * columns) ** 2 / (frames * _partners(frames, relations))


def _partners(frames: int, relations: str) -> int:
    """Frames whose tokens a token is paired with."""
    return {"spatial": 1, "temporal": frames - 1, "both": frames}[relations]


@dataclasses.dataclass(frozen=True)
class Trd(TokenObjective):
    """See the module; its published weight is 0.5."""

    options: TrdOptions

    def compare(self, student: Float[Array, "b t y x c"], teacher: Float[Array, "b tt yy xx c"]) -> Term:
        """The excess over all pairs; the student on the teacher's grid."""
        dropped = self.options.first_frame
        student = student if dropped == "compared" else student[:, 1:]
        teacher = teacher[:, 1:] if dropped == "dropped" else teacher
        frames = min(student.shape[1], teacher.shape[1])
        if not frames or not _partners(teacher.shape[1], self.options.relations):
            return Term(jnp.zeros(len(student)), jnp.zeros(len(student), bool))
        student = resized(student, teacher.shape[1:4])
        value = trd_loss(student, teacher, self.options.margin, self.options.relations)
        return Term(value, jnp.ones(value.shape, bool))

    def compare_flops(self, teacher: tuple[int, int, int]) -> int:
        """Of the student's Gram matrix forwards and backwards, and of the teacher's forwards."""
        frames, rows, columns = teacher
        frames -= self.options.first_frame == "dropped"
        others = 1 if self.options.relations == "spatial" else frames
        gram = Flops(0, 2 * frames * others * (rows * columns) ** 2 * self.options.channels)
        return gram.training + gram.forward


def build(section: Mapping[str, Any], context: Context) -> Trd:
    """The objective of a section with the keys of `TrdOptions`.

    Raises:
        UserError: For a value that an option may not have, or a block that the transformer has not.
    """
    options, backbone = read_options(TrdOptions, section, context.name), context.backbone
    require_block(backbone, options.block, f"{context.name}.block")
    sizes = (backbone.config.width, options.projector_width, options.channels)
    projector = Functional(lambda rngs: MlpProjector(*sizes, rngs=rngs, dtype=jnp.dtype(context.dtype)))
    return Trd(context.name, options, projector, backbone, context.remat)
