"""Weights of the places of a latent: more, or less, where a box lies."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class BoxWeights:
    """What a place counts in a loss inside and outside of a box: only the ratio of the two matters.

    The loss is a weighted mean over each clip (`denoising_loss`), not a sum: a clip counts as much as any other,
    however large its face, and the loss keeps its size beside the other terms. So a clip without any box has the plain
    loss, unless outside counts 0: then it has none. Other trainers have this (OneTrainer's
    `normalize_masked_area_loss`, modules/util/loss/masked_loss.py) beside sums, in which large faces count more (IPA
    counts hands ten times, without normalisation).

    Attributes:
        inside: At least 0.
        outside: At least 0; 0 is a loss on boxes alone.
    """

    inside: float = 1.0
    outside: float = 1.0

    def __post_init__(self) -> None:
        """Checks what a config says.

        Raises:
            UserError: When nothing counts.
        """
        if min(self.inside, self.outside) < 0 or self.inside == self.outside == 0:
            raise UserError(
                f"config.denoising has face_weight={self.inside} and outside_weight={self.outside}: neither may be "
                "below 0, and one must be more"
            )

    @property
    def are_even(self) -> bool:
        """Whether all places count the same."""
        return self.inside == self.outside

    def on_grid(self, boxes: Float[Array, "*frames 4"], height: int, width: int) -> Float[Array, "*frames h w"]:
        """The weights on a grid; a place that a box covers in part counts that part inside and the rest outside."""
        return self.outside + (self.inside - self.outside) * box_coverage(boxes, height, width)


def box_coverage(boxes: Float[Array, "*frames 4"], height: int, width: int) -> Float[Array, "*frames h w"]:
    """The part of each place of a grid that a box covers, 0 to 1.

    Args:
        boxes: Corners x0, y0, x1, y1 as parts of width and height (`data.fields.FACE_BOXES`); they may lie beyond the
            grid. An empty box, such as four zeros, covers nothing.
        height: Rows of the grid.
        width: Its columns.
    """
    x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)
    return _overlap(y0, y1, height)[..., :, None] * _overlap(x0, x1, width)[..., None, :]


def _overlap(start: Float[Array, "*frames"], end: Float[Array, "*frames"], count: int) -> Float[Array, "*frames n"]:
    """The part of each of `count` even intervals of [0, 1] that lies between two points."""
    edges = jnp.arange(count + 1, dtype=jnp.float32)
    low = jnp.maximum(start[..., None] * count, edges[:-1])
    high = jnp.minimum(end[..., None] * count, edges[1:])
    return jnp.maximum(high - low, 0.0)
