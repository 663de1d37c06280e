"""What an alignment objective is: a loss beside the denoising loss, on what the transformer puts out or has inside.

An objective is a module of this package that defines `build(section, context)`, or anybody's own function, named in a
config as `package.module:build`:

    config.alignment = {"structure": {"weight": 0.01, "module": WORKDIR}, "mine": {"objective": "my.module:build", ...}}

The key names it in logs; without `objective` it is also the module's name.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import struct
from jaxtyping import Array, Bool, Float, Shaped

from sr_jax import registry
from sr_jax.backbones.base import Backbone
from sr_jax.diffusion.process import Process
from sr_jax.models.functional import Functional, Params


@struct.dataclass
class View:
    """All that an objective may look at, of one batch of training.

    Attributes:
        clean: `z0_hat`, the clean latent that the transformer's prediction implies; gradients flow into it.
        noisy: `zt`.
        times: Of `zt`.
        noise: `eps`, the noise in `zt`.
        hidden: Video tokens behind the blocks that the objectives tap, by number; gradients flow into them.
        batch: The fields of the records that the objectives read.
    """

    clean: Float[Array, "b t h w c"]
    noisy: Float[Array, "b t h w c"]
    times: Shaped[Array, " b"]
    noise: Float[Array, "b t h w c"]
    hidden: Mapping[int, Float[Array, "b tt y x d"]]
    batch: Mapping[str, Array]


class Term(NamedTuple):
    """What an objective gives.

    Attributes:
        value: Of each sample; 0 where it does not count.
        counted: Which samples the log's average is over; in the loss one that is not counted is a 0 among the others.
        output: Anything that objectives `after` this one read.
        similarity: Of student and teacher in each sample, -1 to 1, for objectives that measure one.
    """

    value: Float[Array, " b"]
    counted: Bool[Array, " b"]
    output: Any = None
    similarity: Float[Array, " b"] | None = None


@runtime_checkable
class Objective(Protocol):
    """One alignment objective.

    Attributes:
        fields: The fields of records that it reads, with their axes (`data.fields`).
        taps: Blocks of the transformer, from 1, whose hidden states it reads.
        after: Objectives whose outputs it reads.
        trained: Networks that it trains beside the transformer, such as a projector; left out of exports.
        frozen: Networks of another run, which it reads and never changes.
    """

    fields: Mapping[str, str]
    taps: tuple[int, ...]
    after: tuple[str, ...]
    trained: Mapping[str, Functional]
    frozen: Mapping[str, Functional]

    def __call__(self, params: Params, frozen: Params, view: View, outputs: Mapping[str, Any]) -> Term:
        """The loss of each sample, without its weight.

        Args:
            params: Of `trained`, by the same names.
            frozen: Of `frozen`; gradients flow through these networks, not into them.
            view: The batch.
            outputs: `Term.output` of each objective in `after`, by name.
        """
        ...

    def flops(self, size: tuple[int, int, int]) -> int:
        """Model FLOPs that a clip with latents of T, H and W adds to a training step, forwards and backwards."""
        ...


@dataclasses.dataclass(frozen=True)
class Context:
    """What an objective is built from, beside its section of the config.

    Attributes:
        backbone: Of the transformer that is trained.
        dtype: Compute type of networks.
        remat: What their backward pass keeps, one of `remat.POLICIES`.
        module: Config of the stage one run that the section's `module` names, whose networks are `frozen`.
        process: What the transformer learns to predict.
        name: The objective's key in the config, for messages.
    """

    backbone: Backbone
    dtype: str
    remat: str
    module: Mapping[str, Any]
    process: Process
    name: str


def build_objective(name: str, section: Mapping[str, Any], context: Context) -> Objective:
    """The objective of one entry of a config's `alignment` section.

    Raises:
        UserError: For an unknown objective, or options that are none of it.
    """
    build = registry.find("objective", section.get("objective", name), package=__package__, attribute="build")
    return build(section, context)
