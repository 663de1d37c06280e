"""Configs with all that has a default, so that one with something left out equals one that says it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sr_jax.alignment.identity import identity_config
from sr_jax.alignment.options import OPTIONS, read_options
from sr_jax.alignment.weights import WeightSchedule
from sr_jax.checkpoints.networks import backbone_of, structure_backbone_of


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training config, as JSON has it, whose sections of model sizes and objectives lack no field that has a default.

    Raises:
        UserError: For a backbone, sizes, or options of an objective, that are none of its kind.
    """
    filled = {
        "model": dataclasses.asdict(backbone_of(config).config),
        "structure": dataclasses.asdict(structure_backbone_of(config).config),
        "identity": dataclasses.asdict(identity_config(config["identity"])),
    }
    if "alignment" in config:
        filled["alignment"] = {name: _objective(name, section) for name, section in config["alignment"].items()}
    return dict(config) | filled


def _objective(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    own = OPTIONS.get(section.get("objective", name))
    options = dataclasses.asdict(read_options(own, section, name)) if own else {}
    return dataclasses.asdict(WeightSchedule(0.0)) | dict(section) | options
