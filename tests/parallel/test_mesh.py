"""The mesh from a config's sizes."""

import jax
import pytest

from sr_jax.errors import UserError
from sr_jax.parallel.mesh import make_mesh


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


@pytest.mark.parametrize("sizes", [{"data": 3}, {"data": 3, "fsdp": -1}, {"data": 16}, {"fsdp": 0}])
def test_sizes_that_do_not_fit_the_devices(sizes):
    with pytest.raises(UserError, match="does not fit the 8 devices"):
        make_mesh(sizes)


def test_unknown_axis():
    with pytest.raises(UserError, match="'model'"):
        make_mesh({"model": 2})
