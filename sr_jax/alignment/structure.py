"""L_S: the depth latent that the frozen structure module reads in the predicted clean latent (paper section 3.2).

    L_S = mean over frames, rows, columns and channels of (f_S(z0_hat) - d0)^2

SemanticREPA (CVPR 2026, arXiv 2605.10523): d0 is the latent of the coloured depth video, f_S a frozen transformer of
stage one through which gradients flow into z0_hat; **weight lambda_S = 0.01**, constant. The paper has no public code.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.alignment.base import Context, Term, View
from sr_jax.alignment.structure_module import StructureModule, structure_flops
from sr_jax.backbones.base import Backbone, get_backbone
from sr_jax.diffusion.process import Process
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params

INPUTS = ("clean", "noisy")
"""What `f_S` reads: clean latents (the paper's choice), or noisy ones and their times (its ablation)."""
TEXTS = ("none", "empty_prompt")
"""What `f_S` gets as text."""


def structure_loss(depth_latents: Float[Array, "b t h w c"], target: Float[Array, "b t h w c"]) -> Float[Array, "b"]:
    """`L_S`: mean squared error between predicted and teacher depth latents, for each sample.

    SemanticREPA, stage one: `mean((f_S(z0) - d0)^2)`; stage two: `mean((f_S(z0_hat) - d0)^2)`.

    Args:
        depth_latents: The structure module's output.
        target: `d0`, the latent of the coloured depth video.
    """
    error = depth_latents.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(jnp.square(error), axis=(1, 2, 3, 4))


@dataclasses.dataclass(frozen=True)
class Structure:
    """`lambda_S` is its weight: 0.01 in the paper. Its output is the predicted depth latent.

    The noisy variant gives `f_S`, which was trained on noisy latents, what the transformer predicts brought back to the
    noise of the step: `zt_hat = add_noise(z0_hat, eps, t)`, with the noise that was drawn. `zt` itself depends on no
    prediction; nor does that prediction with its own noise, `add_noise(z0_hat, eps_hat, t)`, which is `zt` again. The
    gradient is that of the clean variant times what `zt` holds of `z0`: none for pure noise.

    Attributes:
        module: `f_S`.
        backbone: What `f_S` is a network of.
        with_text: Whether `f_S` reads the empty prompt.
        reads: One of `INPUTS`.
        process: Of the transformer; the noisy variant's noise.
    """

    module: Functional
    backbone: Backbone
    with_text: bool
    reads: str
    process: Process

    fields: ClassVar[Mapping[str, str]] = {"depth_latent": "t h w c"}
    taps = after = ()
    trained: ClassVar[Mapping[str, Functional]] = {}

    @property
    def frozen(self) -> dict[str, Functional]:
        """`f_S`."""
        return {"structure": self.module}

    def __call__(self, params: Params, frozen: Params, view: View, outputs: Mapping[str, Any]) -> Term:
        """`mean((f_S(z0_hat) - d0)^2)`, or `mean((f_S(zt_hat, t) - d0)^2)`."""
        inputs = (view.clean,)
        if self.reads == "noisy":
            inputs = (self.process.add_noise(view.clean, view.noise, view.times), view.times)
        depth_latents = self.module.apply(frozen["structure"], *inputs)
        value = structure_loss(depth_latents, view.batch["depth_latent"])
        return Term(value, jnp.ones(value.shape, bool), depth_latents)

    def flops(self, size: tuple[int, int, int]) -> int:
        """Forwards, and backwards to the latents."""
        return structure_flops(self.backbone, self.with_text, size).through


def build(section: Mapping[str, Any], context: Context) -> Structure:
    """The objective with the structure module that `context.module` trained."""
    trained = context.module
    backbone = get_backbone(trained["backbone"], trained["structure"])
    text = trained["structure_text"]
    module = structure_network(backbone, text, dtype=context.dtype, remat=context.remat)
    return Structure(module, backbone, text == "empty_prompt", trained["structure_input"], context.process)


def structure_network(backbone: Backbone, text: str, *, dtype: str = "float32", remat: str = "none") -> Functional:
    """The structure module `f_S`.

    Args:
        backbone: Of a stage one config's `structure` section.
        text: Its `structure_text`, one of `TEXTS`.
        dtype: Compute type.
        remat: What the backward pass of the blocks keeps, one of `remat.POLICIES`.

    Raises:
        UserError: For another `text`.
    """
    if text not in TEXTS:
        raise UserError(f"config.structure_text is {text!r}: choose one of {'; '.join(TEXTS)}")
    options = {"with_text": text == "empty_prompt", "dtype": jnp.dtype(dtype), "remat": remat}
    return Functional(lambda rngs: StructureModule(backbone, rngs=rngs, **options))
