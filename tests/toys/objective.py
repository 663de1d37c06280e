"""An alignment objective in one file: a projector turns the hidden states behind block 1 into a teacher's tokens."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from sr_jax.alignment.base import Context, Term, View
from sr_jax.models.functional import Functional
from sr_jax.models.layers import linear

TOKENS = (2, 2, 3)


@dataclasses.dataclass(frozen=True)
class TokenObjective:
    projector: Functional
    width: int

    fields: ClassVar[Mapping[str, str]] = {"toy_tokens": "t 2 2 3"}
    taps: ClassVar[tuple[int, ...]] = (1,)
    after: ClassVar[tuple[str, ...]] = ()
    frozen: ClassVar[Mapping[str, Functional]] = {}

    @property
    def trained(self) -> dict[str, Functional]:
        return {"projector": self.projector}

    def __call__(self, params: Any, frozen: Any, view: View, outputs: Mapping[str, Any]) -> Term:
        tokens = self.projector.apply(params["projector"], view.hidden[1])
        size = (*tokens.shape[:2], *TOKENS[:2], tokens.shape[-1])
        error = jax.image.resize(tokens, size, "linear") - view.batch["toy_tokens"]
        value = jnp.mean(error**2, axis=(1, 2, 3, 4))
        return Term(value, jnp.ones(value.shape, bool))

    def flops(self, size: tuple[int, int, int]) -> int:
        frames, rows, columns = size
        return 3 * 2 * frames * rows * columns * self.width * TOKENS[-1]


def build(section: Mapping[str, Any], context: Context) -> TokenObjective:
    width = context.backbone.config.width
    return TokenObjective(
        Functional(lambda rngs: linear(width, TOKENS[-1], ("embed", "embedding"), rngs=rngs, dtype=context.dtype)),
        width,
    )
