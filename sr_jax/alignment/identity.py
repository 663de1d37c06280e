"""L_ID: the face that the frozen identity module reads in the predicted clean latent (paper section 3.3).

    L_ID = mean over latent frames with a face, and over E numbers, of |f_ID(z0_hat, f_S(z0_hat)) - f|

SemanticREPA (CVPR 2026, arXiv 2605.10523): f are a recogniser's embeddings of length 1, f_ID a frozen ResNet of stage
one through which gradients flow into z0_hat; **weight lambda_ID = 1**, constant. The paper has no public code.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.alignment.base import Context, Term, View
from sr_jax.alignment.identity_module import IdentityConfig, IdentityModule, identity_flops
from sr_jax.models.functional import Functional, Params


def identity_loss(
    embeddings: Float[Array, "b t e"], target: Float[Array, "b t e"], face_mask: Float[Array, "b t"]
) -> Float[Array, "b"]:
    """`L_ID`: mean absolute difference of face embeddings over the frames that show a face, for each sample.

    A clip without any face gives exactly 0, with exactly zero gradient, whatever is in `embeddings` and `target`.
    Each clip's value depends on that clip only, not on the company it has in the batch.

    Args:
        embeddings: The identity module's output, unit length along the last axis.
        target: The recogniser's embeddings `f`, unit length where `face_mask` is 1.
        face_mask: `m`, 1 where a face was found in the frames that the latent frame covers, else 0.
    """
    found = face_mask > 0
    # The mask is applied before the difference: what stands in an unmasked place can be anything, also not finite.
    difference = jnp.where(found[..., None], embeddings.astype(jnp.float32) - target.astype(jnp.float32), 0.0)
    per_frame = jnp.mean(jnp.abs(difference), axis=-1)
    return jnp.sum(per_frame, axis=-1) / jnp.maximum(jnp.sum(found, axis=-1), 1)


@dataclasses.dataclass(frozen=True)
class Identity:
    """`lambda_ID` is its weight: 1 in the paper. Clips without a face do not count.

    Attributes:
        module: `f_ID`.
        config: Its sizes.
    """

    module: Functional
    config: IdentityConfig

    fields: ClassVar[Mapping[str, str]] = {"face_embedding": "t e", "face_mask": "t"}
    taps = ()
    trained: ClassVar[Mapping[str, Functional]] = {}

    @property
    def after(self) -> tuple[str, ...]:
        """The predicted structure, not the teacher's, feeds `f_ID`: it acts as an implicit face mask."""
        return ("structure",) if self.config.use_depth else ()

    @property
    def frozen(self) -> dict[str, Functional]:
        """`f_ID`."""
        return {"identity": self.module}

    def __call__(self, params: Params, frozen: Params, view: View, outputs: Mapping[str, Any]) -> Term:
        """`masked_mean(|f_ID(z0_hat, f_S(z0_hat)) - f|)`."""
        depth_latents = outputs["structure"] if self.config.use_depth else None
        embeddings = self.module.apply(frozen["identity"], view.clean, depth_latents)
        mask = view.batch["face_mask"]
        value = identity_loss(embeddings, view.batch["face_embedding"], mask)
        return Term(value, jnp.any(mask > 0, axis=-1))

    def flops(self, size: tuple[int, int, int]) -> int:
        """Forwards, and backwards to the latents."""
        return identity_flops(self.config, size).through


def build(section: Mapping[str, Any], context: Context) -> Identity:
    """The objective with the identity module that `context.module` trained."""
    config = identity_config(context.module["identity"])
    return Identity(identity_network(config, dtype=context.dtype), config)


def identity_config(section: Mapping[str, Any]) -> IdentityConfig:
    """The sizes in a config's `identity` section, which may have come from JSON."""
    return IdentityConfig(**{key: tuple(v) if isinstance(v, list | tuple) else v for key, v in section.items()})


def identity_network(config: IdentityConfig, *, dtype: str = "float32") -> Functional:
    """The identity module `f_ID`."""
    return Functional(lambda rngs: IdentityModule(config, rngs=rngs, dtype=jnp.dtype(dtype)))
