"""The noise schedule of a diffusers folder (`scheduler/scheduler_config.json`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sr_jax.diffusion.schedule import ScheduleConfig
from sr_jax.errors import UserError

# What all released schedulers have, and ours always; a scheduler's file gives every field.
_FIXED = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "trained_betas": None}


def config_from_diffusers(config_json: Mapping[str, Any]) -> ScheduleConfig:
    """Our schedule (diffusers: `CogVideoXDDIMScheduler`, `CogVideoXDPMScheduler`).

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
