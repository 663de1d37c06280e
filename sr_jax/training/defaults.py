"""Configs with every field of the models that they describe, so that one with fields left out equals one without."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sr_jax.alignment.identity import identity_config
from sr_jax.checkpoints.networks import backbone_of, structure_backbone_of


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training config, as JSON has it, whose sections of model sizes lack no field that has a default.

    Raises:
        UserError: For a backbone, or sizes, that are none of its kind.
    """
    filled = {
        "model": dataclasses.asdict(backbone_of(config).config),
        "structure": dataclasses.asdict(structure_backbone_of(config).config),
        "identity": dataclasses.asdict(identity_config(config["identity"])),
    }
    return dict(config) | filled
