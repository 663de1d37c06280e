"""Planning in one process: bad topologies, bad configs, and the words of the answer."""

import dataclasses
from unittest import mock

import jax
import pytest

from sr_jax.errors import UserError
from sr_jax.parallel.chips import TPU_V5E
from sr_jax.planning import report
from sr_jax.planning.attention_traffic import AttentionTraffic
from sr_jax.planning.collectives import Traffic
from sr_jax.planning.memory import Memory
from sr_jax.planning.planner import Plan, described_stage_one, plan
from sr_jax.planning.roofline import roofline
from sr_jax.planning.topologies import Topology, get_topology
from sr_jax.training.builders import build_stage
from sr_jax.training.stages import Work

_GIB = 2**30


@pytest.mark.parametrize("name", ["v9:2x2", "v5p", "v5p:2", "v5p:2x2x4x2", "cpu", "cpu:none", "cpu:0", ""])
def test_unknown_topologies(name):
    with pytest.raises(UserError, match=r"unknown topology .* name one like v5p:2x2x4"):
        get_topology(name)


def test_devices_that_are_there():
    assert len(get_topology("cpu:4").devices) == 4
    assert get_topology("local").devices == jax.devices()
    assert get_topology("local").chip is get_topology("local").capacity is None
    with pytest.raises(UserError, match="asks for 99 virtual devices, this process has 8"):
        get_topology("cpu:99")


def _gpu(stats):
    gpu = mock.Mock(spec=jax.Device, device_kind="NVIDIA H100 80GB HBM3")
    gpu.memory_stats.return_value = stats
    return gpu


@pytest.mark.parametrize(
    ("stats", "capacity"),
    [
        # Three quarters of the memory; the least of several devices counts.
        ([{"bytes_limit": 60 * _GIB, "bytes_in_use": 0}, {"bytes_limit": 59 * _GIB}], 59 * _GIB),
        ([{"bytes_in_use": 0}, None], 80 * _GIB),
    ],
)
def test_a_program_has_as_much_memory_as_xla_gives_it(monkeypatch, stats, capacity):
    monkeypatch.setattr(jax, "devices", lambda: [_gpu(each) for each in stats])
    assert get_topology("local").capacity == capacity


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mesh.fsdp": 3}, "does not fit the 8 devices"),
        ({"mesh.fsdp": 8, "mesh.data": 1, "batch_size": 4}, "must be a multiple of data x fsdp = 8"),
        ({"batch_size": 8, "optimizer.name": "adam"}, "choose"),
        ({"batch_size": 8, "remat": "everything"}, "choose one of"),
    ],
)
def test_configs_that_no_run_could_start_with(tiny, overrides, message):
    with pytest.raises(UserError, match=message):
        plan(tiny("stage_two", **overrides), Topology("cpu:8", jax.devices(), None, None))


def test_frozen_modules_are_those_that_the_config_describes(tiny):
    def frozen(config):
        return {
            name for name, part in build_stage(config, described_stage_one(config)).frozen.items() if part.is_network
        }

    assert frozen(tiny("stage_two")) == {"structure", "identity"}
    assert frozen(tiny("base")) == frozen(tiny("stage_one")) == set()
    assert frozen(tiny("stage_two", **{"alignment.identity.weight": 0.0})) == {"structure"}
    assert described_stage_one(tiny("stage_two"))["structure"] == tiny("stage_two").structure.to_dict()


@pytest.fixture
def found():
    memory = Memory(2 * _GIB, 4 * _GIB, 2 * _GIB, _GIB, 2**20, 0, 5 * _GIB, 0, 0)
    bound = roofline(
        TPU_V5E,
        num_devices=4,
        model_flops=4 * 197 * 10**12,
        hardware_flops=6 * 197 * 10**12,
        hbm_bytes=819 * 10**9,
        sent_bytes=10**11,
    )
    return Plan(
        "v5e:2x2", 4, {"data": 1, "fsdp": 4, "context": 1, "tensor": 1}, 4, ("structure",), 4,
        Work(197 * 10**12, 17_776),
        6 * 197 * 10**12, memory, 16 * _GIB, True, 12.0, 20.0, None, {"all-gather": Traffic(84, 10**11)},
        819 * 10**9, bound,
    )  # fmt: skip


def test_roofline_by_hand(found):
    bound = found.roofline
    assert (bound.compute, bound.hbm, bound.links) == (1.5, 1.0, 0.5)
    assert bound.seconds == 1.5
    assert bound.mfu_bound == pytest.approx(1 / 1.5)


def test_the_answer_in_words(found):
    text = report.to_text(found)
    assert text.endswith("YES, it fits: 14.00 GiB of the 16.00 GiB of a device (88%).")
    assert "v5e:2x2: 4 devices, mesh data 1 x fsdp 4 x context 1 x tensor 1" in text
    assert "1.500 s, an MFU of at most 67%" in text
    assert "(+50%: recomputed, and the optimizer)" in text
    assert report.to_json(found)["memory_total"] == found.memory.total
    assert report.to_json(found)["fits"] is True


def test_what_attention_sends_in_words(found):
    assert "attention" not in report.to_text(found)
    shared = dataclasses.replace(
        found, mesh=found.mesh | {"context": 4}, attention=AttentionTraffic(3 * _GIB, 3 * _GIB, 6 * _GIB)
    )
    rows = report.to_text(shared).partition("Of that for attention, over context 4")[2].splitlines()[1:4]
    assert [row.split() for row in rows] == [
        ["as", "it", "is", "3.00", "GiB"],
        ["tokens", "for", "heads", "3.00", "GiB"],
        ["gathered", "keys", "and", "values", "6.00", "GiB"],
    ]


def test_what_the_compiler_refuses_does_not_fit(found):
    refused = dataclasses.replace(found, compiled=False, traffic=None, hbm_bytes=None, roofline=None)
    assert refused.fits is False
    assert report.verdict(refused).startswith("NO, it does not fit")
    assert "refused by the compiler" in report.to_text(refused)


def test_more_than_there_is_does_not_fit(found):
    memory = dataclasses.replace(found.memory, temporaries=9 * _GIB)
    assert dataclasses.replace(found, memory=memory).fits is False
