"""The mesh from a config's sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.parallel import activations
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.mesh import _check_slices, arrange, jit_on_mesh, make_mesh, on_mesh, replicated


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({"data": -1}, (8, 1, 1, 1)),
        ({"data": 2, "fsdp": -1}, (2, 4, 1, 1)),
        ({"data": 2, "fsdp": 2, "tensor": 2}, (2, 2, 1, 2)),
        ({"context": 8}, (1, 1, 8, 1)),
    ],
)
def test_sizes(sizes, shape):
    mesh = make_mesh(sizes)
    assert mesh.axis_names == ("data", "fsdp", "context", "tensor")
    assert tuple(mesh.shape.values()) == shape


def test_one_device():
    assert make_mesh({"data": -1}, jax.devices()[:1]).size == 1


@pytest.mark.parametrize(
    "sizes", [{"data": 3}, {"data": 3, "fsdp": -1}, {"data": 16}, {"fsdp": 0}, {"data": 0, "fsdp": -1}]
)
def test_sizes_that_do_not_fit_the_devices(sizes):
    with pytest.raises(UserError, match="does not fit the 8 devices"):
        make_mesh(sizes)


def test_unknown_axis():
    with pytest.raises(UserError, match="'model'"):
        make_mesh({"model": 2})


@dataclasses.dataclass(frozen=True)
class _Device:
    id: int
    process_index: int
    slice_index: int | None
    platform: str = "cpu"
    device_kind: str = "fake"


def _devices(per_slice, *, slice_index=True, platform="cpu"):
    owners = np.repeat(np.arange(len(per_slice)), per_slice)
    # Interleaved, as nothing promises that a slice's devices come one after the other.
    order = np.random.default_rng(0).permutation(len(owners))
    return [_Device(int(i), int(owners[i]), int(owners[i]) if slice_index else None, platform) for i in order]


@pytest.mark.parametrize("slice_index", [True, False])
@pytest.mark.parametrize(
    ("sizes", "shape", "across"),
    [
        ({"data": 1, "fsdp": -1, "dcn_data": 2}, (2, 4, 1, 1), 0),
        ({"fsdp": 2, "context": 2, "dcn_fsdp": 2}, (1, 4, 2, 1), 1),
        ({"data": 2, "tensor": 2, "dcn_data": 2}, (4, 1, 1, 2), 0),
    ],
)
def test_slices_lie_along_one_axis(sizes, shape, across, slice_index):
    mesh = arrange(sizes, _devices([4, 4], slice_index=slice_index))
    assert mesh.shape == shape
    owners = np.vectorize(lambda device: device.process_index)(mesh)
    first, second = np.split(owners, 2, axis=across)
    assert np.all(first == 0) and np.all(second == 1)


@pytest.mark.parametrize(
    ("sizes", "devices", "message"),
    [
        ({"fsdp": -1}, _devices([4, 4], platform="tpu"), "asks for 1 slices .* are in 2: set config.mesh.dcn_data=2"),
        ({"fsdp": -1, "dcn_data": 4}, _devices([4, 4]), "asks for 4 slices"),
        ({"fsdp": -1, "dcn_data": 2}, _devices([8]), "asks for 2 slices .* are in 1"),
        ({"fsdp": 8, "dcn_data": 2}, _devices([4, 4]), "does not fit the 4 devices there are in each of 2 slices"),
        ({"fsdp": -1, "dcn_data": 2}, _devices([3, 5]), "the slices have 3, 5 devices"),
        ({"fsdp": -1, "dcn_context": 2}, _devices([4, 4]), "names the axis 'dcn_context'"),
        ({"fsdp": -1, "dcn_data": -1}, _devices([4, 4]), "asks for -1 slices"),
    ],
)
def test_slices_that_are_not_there(sizes, devices, message):
    with pytest.raises(UserError, match=message):
        arrange(sizes, devices)


@pytest.mark.parametrize(("platform", "slice_index"), [("gpu", True), ("cpu", False), ("tpu", False)])
def test_nodes_and_processes_need_not_be_told_apart(platform, slice_index):
    devices = _devices([4, 4], platform=platform, slice_index=slice_index)
    # Without a TPU's own order of devices.
    assert _check_slices(1, 1, devices) is None


def test_activations_are_split_by_name_inside_a_mesh_and_left_alone_outside():
    def split(x):
        return activations.constrain(2 * x, "batch", "stream", None)

    x = jnp.arange(64.0).reshape(4, 8, 2)
    mesh = make_mesh({"data": 2, "context": 2, "tensor": 2})
    out = jax.jit(on_mesh(mesh, split), in_shardings=replicated(mesh))(x)
    np.testing.assert_array_equal(out, 2 * x)
    assert {shard.data.shape for shard in out.addressable_shards} == {(2, 2, 2)}
    assert jax.jit(split)(x).sharding.num_devices == 1


def test_the_platform_is_that_of_the_mesh():
    kind = jax.sharding.AbstractDevice(device_kind="TPU v5", num_cores=1, platform="tpu")
    mesh = jax.sharding.AbstractMesh((1, 2, 1, 1), ("data", "fsdp", "context", "tensor"), abstract_device=kind)
    with jax.sharding.use_abstract_mesh(mesh):
        assert activations.platform() == "tpu"
    assert activations.platform() == "cpu"


def test_a_program_is_compiled_with_the_options_of_its_platform_alone(monkeypatch):
    mesh = make_mesh({"data": -1})
    where = {"in_shardings": replicated(mesh), "out_shardings": replicated(mesh)}
    monkeypatch.setattr(meshes, "_COMPILER_OPTIONS", {"tpu": {"xla_no_such_option": "1"}})
    assert jit_on_mesh(mesh, lambda x: x + activations.ways("batch"), **where)(1) == 9
    monkeypatch.setattr(meshes, "_COMPILER_OPTIONS", {"cpu": {"xla_no_such_option": "1"}})
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        jit_on_mesh(mesh, lambda x: x, **where)(1)
