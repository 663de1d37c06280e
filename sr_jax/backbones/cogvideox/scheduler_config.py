"""The scheduler of a diffusers folder (`scheduler/scheduler_config.json`): noise schedule and sampler."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sr_jax.diffusion.v_prediction import ScheduleConfig
from sr_jax.errors import UserError

_CLASSES = {"ddim": "CogVideoXDDIMScheduler", "dpm": "CogVideoXDPMScheduler"}
# What all released schedulers have, and ours always; a scheduler's file gives every field.
_FIXED = {
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "trained_betas": None,
    "set_alpha_to_one": True,
}
# Without effect on ours: CogVideoX's schedulers never clip, and `steps_offset` counts for another spacing.
_WITHOUT_EFFECT = {"clip_sample": False, "clip_sample_range": 1.0, "sample_max_value": 1.0, "steps_offset": 0}


def config_from_diffusers(config_json: Mapping[str, Any]) -> ScheduleConfig:
    """Our schedule (diffusers: `CogVideoXDDIMScheduler`, `CogVideoXDPMScheduler`).

    The spacing of a sampling run is no part of it: ours is always "trailing", which the models' authors sample with
    where a file says otherwise, too.

    Raises:
        UserError: If it is another kind of schedule.
    """
    for name, value in _FIXED.items():
        if config_json.get(name, value) != value:
            raise UserError(f"the scheduler has {name} {config_json[name]!r}: only {value!r} is supported")
    names = [field.name for field in dataclasses.fields(ScheduleConfig)]
    missing = [name for name in names if name not in config_json]
    if missing:
        raise UserError(f"the scheduler's config lacks {', '.join(missing)}: use one that diffusers wrote")
    return ScheduleConfig(**{name: config_json[name] for name in names})


def sampler_from_diffusers(config_json: Mapping[str, Any]) -> str:
    """Our name of the sampler that a scheduler is: "ddim" or "dpm".

    Raises:
        UserError: If it is another one.
    """
    for sampler, class_name in _CLASSES.items():
        if config_json.get("_class_name") == class_name:
            return sampler
    raise UserError(
        f"the scheduler is a {config_json.get('_class_name')}: only {' and '.join(_CLASSES.values())} are supported"
    )


def config_to_diffusers(config: ScheduleConfig, sampler: str) -> dict[str, Any]:
    """A `scheduler_config.json` of our schedule and of "ddim" or "dpm", for diffusers."""
    sizes = {"_class_name": _CLASSES[sampler], "timestep_spacing": "trailing"}
    return sizes | dataclasses.asdict(config) | _FIXED | _WITHOUT_EFFECT
