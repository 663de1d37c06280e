"""What the objectives share that compare hidden states with a frozen teacher's tokens of the clean clip."""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sr_jax.alignment.base import Term, View
from sr_jax.alignment.options import TokenOptions
from sr_jax.alignment.projectors import projector_flops
from sr_jax.alignment.tokens import on_latent_frames
from sr_jax.backbones.base import Backbone, padded_size
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.remat import recomputed


@dataclasses.dataclass(frozen=True)
class TokenObjective(abc.ABC):
    """An `alignment.base.Objective` that projects hidden states and compares them with tokens of the records.

    Gradients reach the transformer, up to the tapped block, and the projector, and nothing else.

    Attributes:
        name: Its key in the config, for messages.
        options: Of its section.
        projector: From hidden states to the teacher's channels.
        backbone: Of the transformer.
        remat: What the backward pass keeps, one of `remat.POLICIES`.
    """

    name: str
    options: TokenOptions
    projector: Functional
    backbone: Backbone
    remat: str

    after: ClassVar[tuple[str, ...]] = ()
    frozen: ClassVar[Mapping[str, Functional]] = {}

    @property
    def fields(self) -> dict[str, str]:
        """The teacher's tokens, with the sizes that planning takes them to have."""
        rows, columns = self.options.grid
        return {self.options.tokens: f"{self.options.frames or 't'} {rows} {columns} {self.options.channels}"}

    @property
    def taps(self) -> tuple[int, ...]:
        """One block."""
        return (self.options.block,)

    @property
    def trained(self) -> dict[str, Functional]:
        """The projector."""
        return {"projector": self.projector}

    def __call__(self, params: Params, frozen: Params, view: View, outputs: Mapping[str, Any]) -> Term:
        """Projects, takes the tokens to latent frames, and compares.

        Raises:
            UserError: When the records have tokens of another number of channels.
        """
        num_frames, patch_frames = view.clean.shape[1], self.backbone.patch[0]

        def compared(params: Params, hidden: Array, teacher: Array) -> Term:
            student = on_latent_frames(self.projector.apply(params, hidden), num_frames, patch_frames)
            return self.compare(student, teacher)

        hidden = view.hidden[self.options.block]
        return recomputed(compared, self.remat)(params["projector"], hidden, self._teacher(view.batch))

    @abc.abstractmethod
    def compare(self, student: Float[Array, "b t y x c"], teacher: Float[Array, "b tt yy xx c"]) -> Term:
        """The loss of each sample.

        Args:
            student: Projected hidden states, one frame for each latent frame of the clip, on the transformer's grid.
            teacher: Tokens of the clean clip on the teacher's grid, float32.
        """

    def flops(self, size: tuple[int, int, int]) -> int:
        """Of the projector, forwards and backwards, and of comparing; interpolation is left out, below 1% of that."""
        tokens = self.backbone.tokens(padded_size(size, self.backbone.patch))
        teacher = (self.options.frames or size[0], *self.options.grid)
        return projector_flops(self.projector, math.prod(tokens)).training + self.compare_flops(teacher)

    def compare_flops(self, teacher: tuple[int, int, int]) -> int:
        """Of products in `compare`, forwards and backwards.

        Args:
            teacher: Frames, rows and columns of the teacher's tokens.
        """
        del teacher
        return 0

    def _teacher(self, batch: Mapping[str, Array]) -> Array:
        tokens, channels = batch[self.options.tokens], self.options.channels
        if tokens.ndim != 5 or tokens.shape[-1] != channels:
            raise UserError(
                f"{self.options.tokens} has the shape {tokens.shape[1:]}, but config.alignment.{self.name} reads "
                f"frames, rows, columns and {channels} channels: set config.alignment.{self.name}.channels"
            )
        return jax.lax.stop_gradient(tokens.astype(jnp.float32))


def require_block(backbone: Backbone, block: int, key: str) -> None:
    """Checks that the transformer has a block.

    Args:
        backbone: Of the transformer.
        block: Its number.
        key: The config key that names it, behind `config.alignment.`.

    Raises:
        UserError: When it has none of this number.
    """
    if not 1 <= block <= backbone.num_layers:
        raise UserError(
            f"config.alignment.{key} is {block}, but the transformer has the blocks 1 to {backbone.num_layers}"
        )
