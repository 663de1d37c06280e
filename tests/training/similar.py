"""An alignment objective that measures a similarity: a projector turns hidden states towards one direction."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from sr_jax.alignment.base import Term
from sr_jax.models.functional import Functional
from sr_jax.models.layers import linear

WIDTH = 4


@dataclasses.dataclass(frozen=True)
class Similar:
    """Value and similarity are known together: one is 1 less the other."""

    projector: Functional

    fields: ClassVar[dict[str, str]] = {}
    taps: ClassVar[tuple[int, ...]] = (1,)
    after: ClassVar[tuple[str, ...]] = ()
    frozen: ClassVar[dict[str, Functional]] = {}

    @property
    def trained(self) -> dict[str, Functional]:
        return {"projector": self.projector}

    def __call__(self, params: Any, frozen: Any, view: Any, outputs: Any) -> Term:
        tokens = self.projector.apply(params["projector"], view.hidden[1].astype(jnp.float32))
        cosine = jnp.sum(tokens, axis=-1) / jnp.sqrt(WIDTH * jnp.sum(tokens**2, axis=-1) + 1e-6)
        similarity = jnp.mean(cosine, axis=(1, 2, 3))
        return Term(1.0 - similarity, jnp.ones(similarity.shape, bool), None, similarity)

    def flops(self, size: tuple[int, int, int]) -> int:
        return 0


def build(section: Any, context: Any) -> Similar:
    """With `width`, the channels of hidden states."""
    return Similar(
        Functional(lambda rngs: linear(section["width"], WIDTH, ("embed", "embedding"), rngs=rngs, dtype=jnp.float32))
    )
