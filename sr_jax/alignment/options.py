"""What a config says of the objectives on hidden states, for them and for configs, which load no JAX.

The sources of the published values are named where the formulas are: `repa`, `trd`, `crepa` and `layersync`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from sr_jax.declared.keys import fields_of
from sr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class TokenOptions:
    """Of an objective that compares hidden states with a teacher's tokens.

    Attributes:
        block: The block of the transformer, from 1, behind which hidden states are taken.
        tokens: The field of the records with the teacher's tokens.
        channels: Channels of the teacher's tokens.
        grid: Rows and columns of the teacher's tokens, for planning; training takes those of the records.
        frames: Frames of the teacher's tokens, for planning; 0: as many as the latents have.
    """

    block: int = 8
    tokens: str = "dinov2_tokens"
    channels: int = 768
    grid: tuple[int, int] = (16, 24)
    frames: int = dataclasses.field(default=0, metadata={"minimum": 0})


@dataclasses.dataclass(frozen=True)
class RepaOptions(TokenOptions):
    """Of `repa`.

    Attributes:
        projector: An MLP of three layers (REPA), or one convolution over each frame (iREPA).
        projector_width: Hidden channels of the MLP.
        spatial_norm: Whether the teacher's tokens are normalised over each frame (iREPA).
        spatial_mean: Part of a frame's mean that they lose then, iREPA's alpha.
    """

    projector: Literal["mlp", "conv"] = "mlp"
    projector_width: int = 2048
    spatial_norm: bool = False
    spatial_mean: float = dataclasses.field(default=1.0, metadata={"minimum": 0, "maximum": 1})


@dataclasses.dataclass(frozen=True)
class TrdOptions(TokenOptions):
    """Of `trd`.

    Attributes:
        projector_width: Hidden channels of the MLP.
        margin: Differences of similarities up to this cost nothing.
        relations: Pairs of tokens that are compared: within a frame, between frames, or all.
        first_frame: What becomes of the first latent frame; "absent": the teacher has none of it.
    """

    block: int = 18
    projector_width: int = 2048
    margin: float = dataclasses.field(default=0.1, metadata={"minimum": 0})
    relations: Literal["both", "spatial", "temporal"] = "both"
    first_frame: Literal["dropped", "compared", "absent"] = "dropped"


@dataclasses.dataclass(frozen=True)
class CrepaOptions(TokenOptions):
    """Of `crepa`.

    Attributes:
        distance: Latent frames between a frame and the neighbours that it is compared with too.
        tau: Neighbours at a distance d count exp(-d / tau).
        all_offsets: Whether those that are nearer than `distance` are neighbours, too.
        divide: Whether the sum over a frame and its neighbours is divided by the sum of what they count.
    """

    distance: int = 1
    tau: float = 1.0
    all_offsets: bool = False
    divide: bool = False


@dataclasses.dataclass(frozen=True)
class LayerSyncOptions:
    """Of `layersync`.

    Attributes:
        block: The block, from 1, whose hidden states are trained.
        deeper_block: The block whose hidden states they are drawn to.
    """

    block: int = 8
    deeper_block: int = 16


OPTIONS: dict[str, type] = {
    "repa": RepaOptions,
    "trd": TrdOptions,
    "crepa": CrepaOptions,
    "layersync": LayerSyncOptions,
}
"""By the names of the objectives."""

Options = TypeVar("Options")


def read_options(cls: type[Options], section: Mapping[str, Any], name: str) -> Options:
    """The options of a section of `config.alignment`, which may have come from JSON; the defaults where it lacks some.

    Args:
        cls: What they are of.
        section: The section, with other keys beside.
        name: Its own key, for messages.

    Raises:
        UserError: For a value that an option may not have.
    """
    values = {}
    for key, declared in fields_of(cls).items():
        value = section.get(key, declared.default)
        if not declared.allows(value):
            raise UserError(f"config.alignment.{name}.{key} is {value!r}: it must be {declared.in_words()}")
        values[key] = tuple(value) if isinstance(value, list) else value
    return cls(**values)
