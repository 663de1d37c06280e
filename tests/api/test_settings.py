from pathlib import Path

import pytest

from sr_jax import command_line, train
from sr_jax.api import load_config
from sr_jax.api.machine import Accelerator, _dtype, accelerator
from sr_jax.errors import UserError


def test_a_config_is_what_the_command_line_makes_of_it(monkeypatch):
    arguments = ["--config=configs/stage_two.py:smoke", "--workdir=w", "--config.data.dir=d", "--config.batch_size=4"]
    arguments += ["--config.optimizer.learning_rate=1", "--config.alignment.structure.module=one"]
    arguments += ["--config.init.may_differ=('codec.weight_hash',)"]
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    command_line.parse(train.FLAGS, ["train", *arguments])
    changes = {"data.dir": Path("d"), "batch_size": 4, "optimizer.learning_rate": 1}
    changes |= {"alignment.structure.module": "one", "init.may_differ": ["codec.weight_hash"]}
    assert load_config("stage_two:smoke", changes).to_dict() == train.FLAGS.config.to_dict()


def test_a_config_without_a_size_has_its_default():
    assert load_config("sample").to_dict() == load_config("sample:people").to_dict()


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("stage_tow:small", {}, "no config 'stage_tow': choose one of ablate, base, "),
        ("common", {}, "no config 'common'"),
        ("stage_two:smal", {}, "stage_two:smal: unknown size 'smal': choose one of .*small"),
        ("stage_two:small", {"batchsize": 4}, "no config key 'batchsize': did you mean 'batch_size'"),
        ("stage_two:small", {"batch_size.x": 4}, "batch_size is a value and no section"),
        ("stage_two:small", {"batch_size": "four"}, "config.batch_size cannot be 'four': its value is 8"),
        ("stage_two:small", {"batch_size": 0}, "config.batch_size is 0: it must be a whole number, at least 1"),
        ("prepare:small", {"clip.height": 0}, "config.clip.height is 0"),
    ],
)
def test_what_there_is_not_is_one_line(name, changes, words):
    with pytest.raises(UserError, match=words):
        load_config(name, changes)


class _Device:
    def __init__(self, platform, compute_capability=None):
        self.platform, self.compute_capability = platform, compute_capability


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        (_Device("cpu"), "float32"),
        (_Device("tpu"), "bfloat16"),
        (_Device("gpu", "7.5"), "float32"),
        (_Device("gpu", "8.0"), "bfloat16"),
        (_Device("gpu", "12.0"), "bfloat16"),
    ],
)
def test_a_device_computes_in_what_it_has(device, dtype):
    assert _dtype(device) == dtype


def test_the_accelerator_is_what_jax_computes_on():
    assert accelerator() == Accelerator("cpu", "cpu", 8, "float32")
    assert str(Accelerator("gpu", "Tesla T4", 1, "float32")) == "1 x Tesla T4 (gpu), computing in float32"
