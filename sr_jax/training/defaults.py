"""Configs with all that has a default, so that one with something left out equals one that says it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sr_jax.alignment.identity import identity_config
from sr_jax.alignment.weights import WeightSchedule
from sr_jax.checkpoints.networks import backbone_of, structure_backbone_of


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training config, as JSON has it, whose sections of model sizes and weights lack no field that has a default.

    Raises:
        UserError: For a backbone, or sizes, that are none of its kind.
    """
    filled = {
        "model": dataclasses.asdict(backbone_of(config).config),
        "structure": dataclasses.asdict(structure_backbone_of(config).config),
        "identity": dataclasses.asdict(identity_config(config["identity"])),
    }
    if "alignment" in config:
        schedule = dataclasses.asdict(WeightSchedule(0.0))
        filled["alignment"] = {name: schedule | section for name, section in config["alignment"].items()}
    return dict(config) | filled
