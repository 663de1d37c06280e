"""LayerSync: hidden states that look like those of a deeper block of the same pass.

    L = - mean over tokens of cos(h_l, sg(h_m)),    l < m

No projector, no teacher, and no gradient into the deeper block. The loss is the negative of the similarity.

LayerSync (Haghighi et al. 2025, arXiv 2510.12581; `train.py` and `Finetuning-LoRA/loss.py` of vita-epfl/LayerSync):
blocks 8 and 16 of SiT-XL's 28; **weight 0.2**, and **0.002** in their LoRA of Wan 2.1 1.3B.

All video tokens are compared, as there. Where latent frames were added in front to fill a patch (CogVideoX 1.5), the
first tokens are those of the clip's first frame, too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.alignment.base import Context, Term, View
from sr_jax.alignment.options import LayerSyncOptions, read_options
from sr_jax.alignment.token_objective import require_block
from sr_jax.alignment.tokens import cosine
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.remat import recomputed


def layersync_similarity(hidden: Float[Array, "b t y x d"], deeper: Float[Array, "b t y x d"]) -> Float[Array, " b"]:
    """The mean cosine of each sample's tokens; no gradient reaches `deeper`."""
    return jnp.mean(cosine(hidden, jax.lax.stop_gradient(deeper)), axis=(1, 2, 3))


@dataclasses.dataclass(frozen=True)
class LayerSync:
    """An `alignment.base.Objective`; see the module. Its published weight is 0.2, and 0.002 for a LoRA.

    Attributes:
        options: Of its section.
        remat: What the backward pass keeps, one of `remat.POLICIES`.
    """

    options: LayerSyncOptions
    remat: str

    fields: ClassVar[Mapping[str, str]] = {}
    after: ClassVar[tuple[str, ...]] = ()
    trained: ClassVar[Mapping[str, Functional]] = {}
    frozen: ClassVar[Mapping[str, Functional]] = {}

    @property
    def taps(self) -> tuple[int, ...]:
        """Both blocks."""
        return (self.options.block, self.options.deeper_block)

    def __call__(self, params: Params, frozen: Params, view: View, outputs: Mapping[str, Any]) -> Term:
        """`- mean cos`, and the mean cosine as similarity."""
        similarity = recomputed(layersync_similarity, self.remat)(*(view.hidden[block] for block in self.taps))
        return Term(-similarity, jnp.ones(similarity.shape, bool), similarity=similarity)

    def flops(self, size: tuple[int, int, int]) -> int:
        """None but those of cosines, which are not counted anywhere."""
        del size
        return 0


def build(section: Mapping[str, Any], context: Context) -> LayerSync:
    """The objective of a section with the keys of `LayerSyncOptions`.

    Raises:
        UserError: For a value that an option may not have, or blocks that the transformer has not in this order.
    """
    options, name = read_options(LayerSyncOptions, section, context.name), context.name
    require_block(context.backbone, options.block, f"{name}.block")
    require_block(context.backbone, options.deeper_block, f"{name}.deeper_block")
    if options.deeper_block <= options.block:
        raise UserError(
            f"config.alignment.{name}.deeper_block is {options.deeper_block}: it must be behind config.alignment."
            f"{name}.block={options.block}"
        )
    return LayerSync(options, context.remat)
