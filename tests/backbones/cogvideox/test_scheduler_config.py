import dataclasses
import json

import numpy as np
import pytest

from sr_jax.backbones.cogvideox import scheduler_config as schedule
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError

# Nothing is the default.
OURS = ScheduleConfig(
    num_train_timesteps=900,
    beta_start=0.001,
    beta_end=0.02,
    snr_shift_scale=3.0,
    rescale_betas_zero_snr=False,
    sampler="ddim",
    timestep_spacing="linspace",
)


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("config", [OURS, ScheduleConfig()])
def test_a_schedule_goes_out_and_comes_back(original, tmp_path, config, spacing):
    config = dataclasses.replace(config, timestep_spacing=spacing)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(schedule.config_to_diffusers(config)))
    theirs = original("folders").load_scheduler(tmp_path, 30)
    np.testing.assert_allclose(VPrediction(config).alphas_cumprod, theirs["alphas_cumprod"], atol=1e-12)
    assert (theirs["prediction_type"], theirs["final_alpha_cumprod"]) == ("v_prediction", 1.0)
    np.testing.assert_array_equal(VPrediction(config).steps("", 30).times, theirs["timesteps"])

    stored = json.loads(theirs["saved"])
    assert schedule.config_from_diffusers(stored) == config
    harmless = {"torch_dtype": "float16", "quantization_config": {"bits": 8}, "thresholding": False, "_note": 1}
    assert schedule.config_from_diffusers(stored | harmless) == config


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "linear"},
        {"prediction_type": "epsilon"},
        {"trained_betas": [0.1]},
        {"set_alpha_to_one": False},
        {"set_alpha_to_one": 1},
        {"timestep_spacing": "karras"},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": "1000"},
        {"num_train_timesteps": 1000.0},
        {"num_train_timesteps": True},
        {"snr_shift_scale": None},
        {"snr_shift_scale": float("nan")},
        {"snr_shift_scale": -1},
        {"beta_end": 0.0001},
        {"beta_end": 10**400},
        {"rescale_betas_zero_snr": "false"},
        {"use_karras_sigmas": True},
    ],
)
def test_other_schedules_are_refused(change):
    (name,) = change
    with pytest.raises(UserError, match=f"the scheduler has {name}") as error:
        schedule.config_from_diffusers(schedule.config_to_diffusers(OURS) | change)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_an_offset_counts_for_leading_timesteps_alone():
    stored = schedule.config_to_diffusers(OURS) | {"steps_offset": 1}
    assert schedule.config_from_diffusers(stored) == OURS
    with pytest.raises(UserError, match="the scheduler has steps_offset 1: only 0 is supported where"):
        schedule.config_from_diffusers(stored | {"timestep_spacing": "leading"})


def test_what_a_file_lacks_is_named():
    stored = schedule.config_to_diffusers(OURS)
    del stored["beta_end"], stored["timestep_spacing"]
    with pytest.raises(UserError, match="lacks beta_end, timestep_spacing"):
        schedule.config_from_diffusers(stored)
    for name in (None, "EulerDiscreteScheduler", ["CogVideoXDDIMScheduler"]):
        with pytest.raises(UserError, match=r"the scheduler is a .*: only CogVideoXDDIMScheduler and"):
            schedule.config_from_diffusers(stored | {"_class_name": name})
