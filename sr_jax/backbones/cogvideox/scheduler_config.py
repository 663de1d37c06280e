"""The scheduler of a diffusers folder (`scheduler/scheduler_config.json`): noise schedule and sampler."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sr_jax.conversion.fields import read_fields, require, shown
from sr_jax.diffusion.v_prediction import SPACINGS, ScheduleConfig
from sr_jax.errors import UserError

_CLASSES = {"ddim": "CogVideoXDDIMScheduler", "dpm": "CogVideoXDPMScheduler"}
# What all released schedulers have, and ours always; a scheduler's file gives every field.
_FIXED = {
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "trained_betas": None,
    "set_alpha_to_one": True,
}
# Without effect on ours: CogVideoX's schedulers never clip, and `steps_offset` counts for the spacing "leading" alone.
_WITHOUT_EFFECT = {"clip_sample": False, "clip_sample_range": 1.0, "sample_max_value": 1.0, "steps_offset": 0}
_WHAT = "the scheduler"
# Timesteps: a table has one number for each.
_MOST_TIMESTEPS = 100_000


def config_from_diffusers(config_json: Mapping[str, Any]) -> ScheduleConfig:
    """Our schedule (diffusers: `CogVideoXDDIMScheduler`, `CogVideoXDPMScheduler`), with the sampler that the class is.

    Raises:
        UserError: If it is another kind of schedule, lacks a field or has a value that cannot be.
    """
    fields = [field.name for field in dataclasses.fields(ScheduleConfig) if field.name != "sampler"]
    sampler = sampler_from_diffusers(config_json)
    config = read_fields(
        config_json | {"sampler": sampler},
        ScheduleConfig,
        what=_WHAT,
        fixed=_FIXED,
        without_effect=_WITHOUT_EFFECT,
        needed=fields,
    )
    count, last = config.num_train_timesteps, config.beta_end
    require(2 <= count <= _MOST_TIMESTEPS, _WHAT, "num_train_timesteps", count, f"2 to {_MOST_TIMESTEPS}")
    require(config.beta_start < last < 1, _WHAT, "beta_end", last, "above beta_start and below 1")
    spacing, offset = config.timestep_spacing, config_json.get("steps_offset", 0)
    require(spacing in SPACINGS, _WHAT, "timestep_spacing", spacing, f"one of {', '.join(SPACINGS)}")
    if spacing == "leading" and offset != 0:
        raise UserError(f"{_WHAT} has steps_offset {shown(offset)}: only 0 is supported where timesteps are leading")
    return config


def sampler_from_diffusers(config_json: Mapping[str, Any]) -> str:
    """Our name of the sampler that a scheduler is: "ddim" or "dpm".

    Raises:
        UserError: If it is another one.
    """
    for sampler, class_name in _CLASSES.items():
        if config_json.get("_class_name") == class_name:
            return sampler
    raise UserError(
        f"{_WHAT} is a {shown(config_json.get('_class_name'))}: only {' and '.join(_CLASSES.values())} are supported"
    )


def config_to_diffusers(config: ScheduleConfig) -> dict[str, Any]:
    """A `scheduler_config.json` of our schedule and its sampler, for diffusers."""
    fields = dataclasses.asdict(config)
    return {"_class_name": _CLASSES[fields.pop("sampler")]} | fields | _FIXED | _WITHOUT_EFFECT
