"""Arrays that are read part by part, against NumPy's indexing."""

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore
from jax.sharding import NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from sr_jax.errors import UserError
from sr_jax.parallel import lazy, stored
from sr_jax.parallel.batches import bounding_box, place, to_first_device
from sr_jax.parallel.lazy import LazyArray
from sr_jax.parallel.mesh import make_mesh


def watched(array, parts):
    """A lazy array that appends the shape of each part that is read of it to `parts`."""

    def read(index):
        part = array[index]
        parts.append(part.shape)
        return part

    return LazyArray(array.shape, array.dtype, read)


@hypothesis.given(st.data())
def test_parts_of_rows_of_rows(data):
    shape = data.draw(hypothesis.extra.numpy.array_shapes(min_dims=1, max_dims=3, max_side=5))
    array = np.arange(np.prod(shape)).reshape(shape)
    rows = data.draw(st.lists(st.integers(0, shape[0] - 1), min_size=1, max_size=6))
    taken = lazy.take_rows(lazy.take_rows(array, range(shape[0])), rows)
    np.testing.assert_array_equal(taken, array[rows])
    count = data.draw(st.integers(1, shape[0]))
    np.testing.assert_array_equal(lazy.first_rows(array, count), array[:count])
    bounds = [sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))) for size in taken.shape]
    index = tuple(slice(*pair) for pair in bounds)
    np.testing.assert_array_equal(taken[index], array[rows][index])


@pytest.mark.parametrize(("max_bytes", "groups"), [(1, 7), (24, 7), (47, 7), (48, 4), (72, 3), (10**9, 1)])
def test_groups_of_rows_are_all_rows_in_order(max_bytes, groups):
    array = np.arange(42, dtype=np.float32).reshape(7, 3, 2)
    parts = [array[index] for index in lazy.row_groups(array, max_bytes)]
    assert len(parts) == groups
    assert max(map(len, parts)) * 24 <= max(max_bytes, 24)
    np.testing.assert_array_equal(np.concatenate(parts), array)
    assert lazy.row_groups(np.float32(1), 1) == [()]


def test_rows_that_are_read_together_stay_together():
    array = np.zeros((7, 3, 2), np.float32)
    together = LazyArray(array.shape, array.dtype, array.__getitem__, rows=3)
    for max_bytes, sizes in ((1, [3, 3, 1]), (5 * 24, [3, 3, 1]), (6 * 24, [6, 1]), (10**9, [7])):
        assert [len(array[index]) for index in lazy.row_groups(together, max_bytes)] == sizes
    assert together.astype(jnp.bfloat16).rows == 3


def test_slices_are_those_of_numpy():
    array, asked = np.arange(12).reshape(3, 4), []
    lazily = LazyArray(array.shape, array.dtype, lambda index: asked.append(index) or array[index])
    for index in ((slice(None), slice(-3, -1)), (slice(1, 99), slice(None, 2)), (slice(2, 1), slice(9, 12))):
        np.testing.assert_array_equal(lazily[index], array[index])
    bounds = [(axis.start, axis.stop, size) for index in asked for axis, size in zip(index, array.shape)]
    assert all(0 <= start <= stop <= size for start, stop, size in bounds)


def test_another_type_of_number():
    array = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    half = LazyArray(array.shape, array.dtype, array.__getitem__).astype(jnp.bfloat16)
    assert half.dtype == jnp.bfloat16 and np.asarray(half).dtype == jnp.bfloat16
    np.testing.assert_array_equal(half[1:2, :2], array[1:2, :2].astype(jnp.bfloat16))
    np.testing.assert_array_equal(jnp.asarray(half, jnp.float32), array.astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize(
    "spec", [P(), P("fsdp"), P(None, "tensor"), P("fsdp", "tensor"), P(("fsdp", "tensor"), None), P("tensor", "fsdp")]
)
def test_placed_as_jax_places_it(spec):
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    array = np.random.default_rng(0).standard_normal((8, 16, 3), np.float32)
    parts = []
    tree = {"lazy": watched(array, parts), "plain": array, "scalar": np.float32(2)}
    where = {"lazy": NamedSharding(mesh, spec), "plain": NamedSharding(mesh, spec), "scalar": NamedSharding(mesh, P())}
    placed = place(tree, where)
    expected = jax.device_put(array, where["lazy"])
    for name in ("lazy", "plain"):
        assert placed[name].sharding == where[name]
        for ours, theirs in zip(placed[name].addressable_shards, expected.addressable_shards, strict=True):
            assert ours.device == theirs.device
            np.testing.assert_array_equal(ours.data, theirs.data)
    assert parts == [array.shape]
    assert placed["scalar"].shape == () and placed["scalar"] == 2


@hypothesis.given(st.data())
def test_the_box_around_parts(data):
    shape = data.draw(hypothesis.extra.numpy.array_shapes(min_dims=1, max_dims=3, max_side=6))
    side = [
        st.integers(0, size - 1).flatmap(lambda i, n=size: st.builds(slice, st.just(i), st.integers(i + 1, n)))
        | st.just(slice(None))
        for size in shape
    ]
    indices = data.draw(st.lists(st.tuples(*side), min_size=1, max_size=4))
    inside = np.zeros(shape, bool)
    for index in indices:
        inside[index] = True
    where = np.nonzero(inside)
    expected = tuple(slice(axis.min(), axis.max() + 1) for axis in where)
    assert bounding_box(indices, shape) == expected


def test_only_the_part_of_the_own_devices_is_read(monkeypatch):
    shards = [(slice(4, 8), slice(0, 2)), (slice(4, 8), slice(2, 4))]

    class TwoOfEight(Sharding):
        """What a process sees that has two of the devices."""

        def addressable_devices_indices_map(self, shape):
            return dict(enumerate(shards))

    def joined(shape, where, part):
        return jnp.concatenate([part(index) for index in shards], axis=1)

    array, parts = np.arange(64, dtype=np.float32).reshape(8, 8), []
    monkeypatch.setattr(jax, "make_array_from_callback", joined)
    np.testing.assert_array_equal(place(watched(array, parts), TwoOfEight()), array[4:, :4])
    assert parts == [(4, 4)]


def test_rows_that_are_not_taken_are_not_read():
    parts = []
    taken = lazy.take_rows(watched(np.ones((9, 2)), parts), [0, 4, 8])
    assert not parts
    np.testing.assert_array_equal(taken[1:3, :1], np.ones((2, 1)))
    assert parts == [(2, 1)]


def test_the_first_device_holds_all():
    parts = []
    placed = to_first_device({"a": watched(np.ones((2, 3)), parts)})
    assert placed["a"].devices() == {jax.devices()[0]} and parts == [(2, 3)]


def stacked():
    # A row of 1.5 MiB, which is a chunk of its own on disk.
    return np.random.default_rng(0).standard_normal((3, 3, 2**17), np.float32)


def test_stored_and_opened(tmp_path, monkeypatch):
    array, small, parts = stacked(), np.arange(5).astype(jnp.bfloat16), []
    table = np.random.default_rng(1).standard_normal((7, 2**17), np.float32)
    monkeypatch.setattr(stored, "_PART_BYTES", 2 * array[0].nbytes)
    stored.save_item(tmp_path / "item", "net", {"blocks": {"0": watched(array, parts)}, "bias": jnp.asarray(small)})
    assert parts == [(2, 3, 2**17), (1, 3, 2**17)]
    # Of rows that are no chunks of their own all are written at once.
    stored.save_item(tmp_path / "table", "net", {"table": watched(table, parts)})
    assert parts[2:] == [table.shape]
    np.testing.assert_array_equal(stored.open_item(tmp_path / "table")["net"]["table"], table)
    opened = stored.open_item(tmp_path / "item")["net"]
    kernel = opened["blocks"]["0"]
    assert isinstance(kernel, LazyArray) and (kernel.shape, kernel.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(kernel, array)
    np.testing.assert_array_equal(kernel[1:2, 1:, 3:70000], array[1:2, 1:, 3:70000])
    np.testing.assert_array_equal(lazy.take_rows(kernel, [2, 0]), array[[2, 0]])
    assert opened["bias"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(opened["bias"], small)


def test_a_row_is_read_without_the_others(tmp_path):
    array = stacked()
    stored.save_item(tmp_path / "item", "net", {"kernel": array})
    kernel = stored.open_item(tmp_path / "item")["net"]["kernel"]
    before = _bytes_read()
    np.testing.assert_array_equal(kernel[1:2, :, :], array[1:2])
    assert 0.8 * array[1].nbytes < _bytes_read() - before < 1.2 * array[1].nbytes


def _bytes_read() -> int:
    [metric] = tensorstore.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return sum(value["value"] for value in metric["values"])


def test_rows_of_training_checkpoints_are_read_together_or_alone(tmp_path):
    """Orbax's own way is one piece for each device; large rows are pieces of their own."""
    array = jnp.asarray(stacked())
    for name, args in (("own", None), ("ours", {"kernel": stored.save_args(array)})):
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(tmp_path / name, args=ocp.args.StandardSave({"kernel": array}, save_args=args))
    rows = {name: stored.open_item(tmp_path / name)["kernel"].rows for name in ("own", "ours")}
    assert rows == {"own": 3, "ours": 1}
    # A device's part of a row may be too small.
    mesh = make_mesh({"fsdp": 8})
    split = jax.device_put(array, NamedSharding(mesh, P(None, None, "fsdp")))
    assert stored.save_args(array).shard_axes == (0,) and stored.save_args(split).shard_axes == ()


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_data_are_told_when_they_are_read(tmp_path, damage):
    stored.save_item(tmp_path / "item", "net", {"kernel": stacked()})
    kernel = stored.open_item(tmp_path / "item")["net"]["kernel"]
    for path in (tmp_path / "item").rglob("d/*"):
        # What describes the array is in smaller files.
        if path.stat().st_size > 2**16:
            path.write_bytes(path.read_bytes()[: 2**15]) if damage == "cut" else path.unlink()
    with pytest.raises(UserError, match=r"item: net\.kernel cannot be read \(.*\): the checkpoint is damaged, or"):
        np.asarray(kernel)


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
def test_an_item_without_its_description_is_damaged(tmp_path, name):
    stored.save_item(tmp_path / "item", "net", {"kernel": np.ones((2, 2), np.float32)})
    (tmp_path / "item" / name).write_text("{")
    with pytest.raises(UserError, match=r"item cannot be read \(.*\): the checkpoint is damaged"):
        stored.open_item(tmp_path / "item")
    (tmp_path / "item" / name).unlink()
    with pytest.raises(UserError, match=r"item cannot be read \(.*\): the checkpoint is damaged"):
        stored.open_item(tmp_path / "item")


def test_an_item_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="has no ema_params"):
        stored.open_item(tmp_path / "ema_params")
