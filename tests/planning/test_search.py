"""The search for a change that fits, with a planner whose memory is a formula."""

import dataclasses

import ml_collections
import pytest

from sr_jax.errors import UserError
from sr_jax.planning.memory import Memory
from sr_jax.planning.planner import Plan
from sr_jax.planning.search import flags, search
from sr_jax.training.stages import Work

_ACTIVATIONS = {"none": 100, "save_matmuls": 80, "save_attention": 60, "block": 20, "offload": 10}


def _config(**fields):
    config = ml_collections.ConfigDict(
        {
            "lora": {"rank": 0, "base_type": "frozen_dtype"},
            "remat": "none", "accumulate_steps": 1, "batch_size": 8,
            "mesh": {"data": 2, "fsdp": 2, "context": 1, "tensor": 1},
            "optimizer": {"name": "adamw", "state_dtype": "float32"},
            "param_dtype": "float32", "frozen_dtype": "float32",
        }
    )  # fmt: skip
    config.update_from_flattened_dict(fields)
    return config


def _stored(size, dtype):
    return size if dtype == "float32" else -(-size // 2)


def _planner(capacity, tried, most_context=2, frozen=("structure",), num_heads=4):
    """Eight clips' activations, 64 of parameters, as much optimizer state and half as much that is frozen."""

    def plan(config):
        tried.append(flags({"remat": config.remat, "accumulate_steps": config.accumulate_steps}))
        if config.mesh.context > most_context:
            raise UserError("too many")
        mesh = config.mesh.to_dict()
        clips = config.batch_size / (mesh["data"] * mesh["fsdp"] * config.accumulate_steps)
        parameters = 64 // (mesh["fsdp"] * mesh["context"] * mesh["tensor"])
        optimizer = {"adamw": parameters, "adafactor": 1}[config.optimizer.name]
        memory = dataclasses.replace(
            Memory(*[0] * 9),
            params=_stored(parameters, config.param_dtype),
            optimizer=_stored(optimizer, config.optimizer.state_dtype),
            frozen=_stored(parameters // 2, config.frozen_dtype),
            # As if `tensor` split the tokens and their channels.
            temporaries=int(clips * _ACTIVATIONS[config.remat] / mesh["context"] / mesh["tensor"] ** 2),
        )
        return Plan(
            "t",
            4,
            mesh,
            config.batch_size,
            frozen,
            num_heads,
            Work(1, 1),
            1,
            memory,
            capacity,
            True,
            0.0,
            0.0,
            None,
            None,
            None,
            None,
        )

    return plan


_FROZEN = {"frozen_dtype": "bfloat16"}
_WHOLE = _FROZEN | {"remat": "offload", "mesh.data": 1}
_TENSOR = {"mesh.fsdp": 2, "accumulate_steps": 4, "mesh.context": 1, "mesh.tensor": 2}
_STATE = {"optimizer.state_dtype": "bfloat16"}
_ADAFACTOR = _STATE | {"optimizer.name": "adafactor"}


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [
        # 280 as it is.
        (272, _FROZEN),
        # The least change of a lever that is enough.
        (192, _FROZEN | {"remat": "save_attention"}),
        (112, _FROZEN | {"remat": "block"}),
        # No policy is enough: the strongest is kept, and levers are pulled on top of it.
        (56, _WHOLE | {"mesh.fsdp": 4}),
        (46, _WHOLE | {"mesh.fsdp": 4, "accumulate_steps": 2}),
        (41, _WHOLE | {"mesh.fsdp": 2, "accumulate_steps": 4, "mesh.context": 2}),
        (38, _WHOLE | _TENSOR),
        (30, _WHOLE | _TENSOR | _STATE),
        (23, _WHOLE | _TENSOR | _ADAFACTOR),
        (15, _WHOLE | _TENSOR | _ADAFACTOR | {"param_dtype": "bfloat16"}),
    ],
)
def test_the_first_change_that_fits(capacity, expected):
    planner = _planner(capacity, [])
    config = _config()
    change, found = search(config, planner(config), planner, lambda line: None)
    assert change == expected
    assert found.memory.total == capacity and found.fits


def test_heads_are_split_over_devices_that_had_clips_of_their_own():
    planner = _planner(38, [], most_context=1)
    config = _config()
    change, found = search(config, planner(config), planner, lambda line: None)
    assert change == _WHOLE | {"mesh.fsdp": 2, "accumulate_steps": 4, "mesh.tensor": 2}
    assert found.fits


@pytest.mark.parametrize(
    ("fields", "lever"),
    [
        ({"frozen_dtype": "bfloat16"}, "frozen_dtype"),
        ({"optimizer.name": "adafactor"}, "optimizer.name"),
        ({"param_dtype": "bfloat16"}, "param_dtype"),
        ({"lora.base_type": "int8"}, "lora.base_type"),
        ({"lora.rank": 0}, "lora.base_type"),
    ],
)
def test_what_a_config_has_not_or_has_already_is_no_lever(fields, lever):
    def tried(config):
        lines = []
        planner = _planner(1, [])
        search(config, planner(config), planner, lines.append)
        return [line for line in lines if f"--config.{lever}=" in line]

    assert tried(_config(**{"lora.rank": 4}))
    assert tried(_config(**{"lora.rank": 4} | fields)) == []


@pytest.mark.parametrize(("options", "lever"), [({"frozen": ()}, "frozen_dtype"), ({"num_heads": 1}, "mesh.tensor")])
def test_what_a_run_has_not_is_no_lever(options, lever):
    lines = []
    planner = _planner(1, [], **options)
    search(_config(), planner(_config()), planner, lines.append)
    assert lines and not [line for line in lines if f"--config.{lever}=" in line]


def test_when_nothing_fits_the_least_is_said():
    tried, lines = [], []
    planner = _planner(1, tried)
    config = _config()
    change, found = search(config, planner(config), planner, lines.append)
    assert not found.fits
    assert change == _WHOLE | _TENSOR | _ADAFACTOR | {"param_dtype": "bfloat16"}
    assert found.memory.total == 8 + 1 + 4 + 2
    assert "  no: too many" in lines
    tries = [line for line in lines if line.startswith("trying")]
    assert len(tries) == len(set(tries)) == len(tried) - 1
    assert config.remat == "none"
