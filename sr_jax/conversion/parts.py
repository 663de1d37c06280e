"""What one part of a released pipeline is: its names in a release, and our module of it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from flax import nnx

from sr_jax.conversion.layer_names import Names
from sr_jax.models.functional import Functional, Params

Identity = dict[str, Any]
"""What a dataset's provenance must say of a part of a model that the dataset is to go with.

`entry` is the path of the part's entry in a provenance: "codec" or "teachers.text". `weight_hashes` are those of its
weights, first as an import has them, and then as other types of numbers; empty where they are not known. All else are
fields of that entry.
"""


@dataclasses.dataclass(frozen=True)
class PartFiles:
    """What is known of a part of a release when it is imported, or only lies beside what is.

    Attributes:
        config: Our configuration.
        dtype: What its parameters are converted to; empty when they are as in the files.
        params: From a type of number to its parameters as `LazyArray`; None where the weights are not there.
        sha256: Of its weight files, by their path in the source; empty where they are not there.
        source: Folder of the release.
    """

    config: Any
    dtype: str
    params: Callable[[str], Params] | None
    sha256: Mapping[str, str]
    source: Path


DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
"""What diffusers calls weight files."""


@dataclasses.dataclass(frozen=True)
class Release:
    """A released model, of which some have only a file of weights.

    Attributes:
        config: Our configuration of the part.
        scheduler: Its pipeline's `scheduler_config.json`.
    """

    config: Any
    scheduler: Mapping[str, Any]


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
        identify: What a dataset's provenance says of it, where a dataset depends on it.
        other_names: What other programs than diffusers call its layers, by the name of their layout.
        released: What is released of it, by name: told by their shapes where a file of weights is all there is.
        computed: Keys of such a file that hold what is computed here, and is not loaded.
    """

    class_name: str
    conversion: ModuleType
    module: Callable[..., nnx.Module]
    weights: str
    item: str
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    identify: Callable[[PartFiles], Identity] | None = None
    other_names: Mapping[str, Names] = dataclasses.field(default_factory=dict)
    released: Mapping[str, Release] = dataclasses.field(default_factory=dict)
    computed: tuple[str, ...] = ()

    def functional(self, config: Any) -> Functional:
        """Our module of this configuration; allocates nothing."""
        return Functional(lambda rngs: self.module(config, rngs=rngs))
