"""The search for a change that fits, with a planner whose memory is a formula."""

import dataclasses

import ml_collections
import pytest

from sr_jax.errors import UserError
from sr_jax.planning.memory import Memory
from sr_jax.planning.planner import Plan
from sr_jax.planning.search import flags, search
from sr_jax.training.work import Work

_ACTIVATIONS = {"none": 100, "save_matmuls": 80, "save_attention": 60, "block": 20, "offload": 10}


def _config(**fields):
    config = ml_collections.ConfigDict(
        {
            "remat": "none", "accumulate_steps": 1, "batch_size": 8,
            "mesh": {"data": 2, "fsdp": 2, "context": 1, "tensor": 1},
            "optimizer": {"name": "adamw", "state_dtype": "float32"},
        }
    )  # fmt: skip
    config.update_from_flattened_dict(fields)
    return config


def _planner(capacity, tried):
    """Eight clips' activations and a state of 64, split as the config says."""

    def plan(config):
        tried.append(flags({"remat": config.remat, "accumulate_steps": config.accumulate_steps}))
        if config.mesh.context > 2:
            raise UserError("too many")
        mesh = config.mesh.to_dict()
        clips = config.batch_size / (mesh["data"] * mesh["fsdp"] * config.accumulate_steps)
        parameters = 64 // (mesh["fsdp"] * mesh["context"])
        optimizer = parameters if config.optimizer.state_dtype == "float32" else parameters // 2
        temporaries = int(clips * _ACTIVATIONS[config.remat] / mesh["context"])
        memory = dataclasses.replace(Memory(*[0] * 9), params=parameters, optimizer=optimizer, temporaries=temporaries)
        return Plan("t", 4, mesh, config.batch_size, Work(1, 1), 1, memory, capacity, True, 0.0, 0.0, None, None, None)

    return plan


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [
        # 264 as it is. The least change of the first lever that is enough.
        (190, {"remat": "save_attention"}),
        (110, {"remat": "block"}),
        # No policy is enough: the strongest is kept, and levers are pulled on top of it.
        (60, {"remat": "offload", "mesh.data": 1, "mesh.fsdp": 4}),
        (42, {"remat": "offload", "mesh.data": 1, "mesh.fsdp": 4, "accumulate_steps": 2}),
        (38, {"remat": "offload", "mesh.data": 1, "mesh.fsdp": 2, "accumulate_steps": 4, "mesh.context": 2}),
    ],
)
def test_the_first_change_that_fits(capacity, expected):
    planner = _planner(capacity, [])
    config = _config()
    change, found = search(config, planner(config), planner, lambda line: None)
    assert change == expected
    assert found.fits


def test_when_nothing_fits_the_least_is_said():
    tried, lines = [], []
    planner = _planner(1, tried)
    config = _config()
    change, found = search(config, planner(config), planner, lines.append)
    assert not found.fits
    assert change["remat"] == "offload" and change["optimizer.state_dtype"] == "bfloat16"
    assert found.memory.total == 16 + 8 + 5
    assert "  no: too many" in lines
    tries = [line for line in lines if line.startswith("trying")]
    assert len(tries) == len(set(tries)) == len(tried) - 1
    assert config.remat == "none"
