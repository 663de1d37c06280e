"""What one part of a released pipeline is: its names in a release, and our module of it."""

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from flax import nnx

from sr_jax.models.functional import Functional

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
"""What diffusers calls weight files."""


@dataclasses.dataclass(frozen=True)
class PartKind:
    """What one part of a pipeline is.

    Attributes:
        class_name: In its `config.json`: `_class_name` (diffusers), or one of `architectures` (transformers).
        conversion: Module with `config_from_diffusers`, `config_to_diffusers` and `rules`.
        module: Our module, called as `module(config, rngs=rngs)`.
        weights: Name of its weight files, without number and ending.
        item: Its name in our checkpoints.
        aliases: Our name of each tensor that files may hold under another, too.
    """

    class_name: str
    conversion: ModuleType
    module: Callable[..., nnx.Module]
    weights: str
    item: str
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def functional(self, config: Any) -> Functional:
        """Our module of this configuration; allocates nothing."""
        return Functional(lambda rngs: self.module(config, rngs=rngs))
