import json

import numpy as np
import pytest

from sr_jax.backbones.cogvideox import scheduler_config as schedule
from sr_jax.diffusion.samplers import trailing_timesteps
from sr_jax.diffusion.v_prediction import ScheduleConfig, VPrediction
from sr_jax.errors import UserError

# Nothing is the default.
OURS = ScheduleConfig(
    num_train_timesteps=900, beta_start=0.001, beta_end=0.02, snr_shift_scale=3.0, rescale_betas_zero_snr=False
)


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
@pytest.mark.parametrize("config", [OURS, ScheduleConfig()])
def test_a_schedule_goes_out_and_comes_back(original, tmp_path, config, sampler):
    (tmp_path / "scheduler_config.json").write_text(json.dumps(schedule.config_to_diffusers(config, sampler)))
    theirs = original("folders").load_scheduler(tmp_path, 30)
    np.testing.assert_allclose(VPrediction(config).alphas_cumprod, theirs["alphas_cumprod"], atol=1e-12)
    assert (theirs["prediction_type"], theirs["final_alpha_cumprod"]) == ("v_prediction", 1.0)
    np.testing.assert_array_equal(trailing_timesteps(config.num_train_timesteps, 30), theirs["timesteps"])

    stored = json.loads(theirs["saved"])
    assert schedule.config_from_diffusers(stored) == config
    assert schedule.sampler_from_diffusers(stored) == sampler


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "linear"},
        {"prediction_type": "epsilon"},
        {"trained_betas": [0.1]},
        {"set_alpha_to_one": False},
    ],
)
def test_other_schedules_are_refused(change):
    (name,) = change
    with pytest.raises(UserError, match=f"the scheduler has {name}"):
        schedule.config_from_diffusers(schedule.config_to_diffusers(OURS, "ddim") | change)


def test_what_a_file_lacks_is_named():
    stored = schedule.config_to_diffusers(OURS, "dpm")
    del stored["beta_end"], stored["_class_name"]
    with pytest.raises(UserError, match="lacks beta_end"):
        schedule.config_from_diffusers(stored)
    with pytest.raises(UserError, match="the scheduler is a None: only CogVideoXDDIMScheduler and"):
        schedule.sampler_from_diffusers(stored)
