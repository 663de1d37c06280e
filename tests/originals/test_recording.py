import io
import shutil
import sys
import types

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from tests.originals import recording
from tests.originals.recording import Mode, Original, digest, flatten, random_weights, unflatten

ARRAYS = hypothesis.extra.numpy.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_, "<U3"]),
    hypothesis.extra.numpy.array_shapes(min_dims=0, min_side=0, max_side=3),
)
NAMES = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
RESULTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), ARRAYS),
    lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(NAMES, inner)),
    max_leaves=8,
)


def assert_identical(left, right):
    """Also in types, and bit by bit, so that NaN is equal to itself."""
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    elif isinstance(left, dict):
        assert_identical(list(left.items()), list(right.items()))
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for pair in zip(left, right):
            assert_identical(*pair)
    else:
        assert repr(left) == repr(right)


@hypothesis.given(RESULTS, RESULTS)
@hypothesis.settings(deadline=None, derandomize=True)
def test_results_come_back_from_one_file_as_they_were(first, second):
    file = io.BytesIO()
    np.savez_compressed(file, **flatten(first, "key"), **flatten(second, "other"))
    file.seek(0)
    arrays = dict(np.load(file))
    assert_identical(unflatten(arrays, "key"), first)
    assert_identical(unflatten(arrays, "other"), second)


def test_what_has_no_place_in_a_record_is_refused():
    with pytest.raises(TypeError, match="a set cannot be recorded"):
        flatten({"a": {1}}, "key")
    with pytest.raises(TypeError, match="a function has no lasting name"):
        digest(([digest],))


def test_unlike_arguments_have_unlike_names():
    ones = np.ones(2, np.float32)
    values = [
        *(None, True, 1, 1.0, "1", b"1", np.float32(1), np.int32(1), "", 0.0, -0.0, (), (1, 1), (2, 1), (1, 2)),
        *({"a": 1}, {"b": 1}, {"a": 2}, {"a": 1, "b": 1}, {"a": (1,)}),
        *(ones, ones.astype(np.float64), ones.astype(np.int32), ones[:1], ones[:, None], ones * [1, 2], ones[:0]),
        *(ones * 0, ones * -0.0, ones * np.float32(1 + 1e-6)),
    ]
    assert len({digest(value) for value in values}) == len(values)


def test_equal_arguments_have_the_same_name():
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    for left, right in [
        ({"a": 1, "b": table}, {"b": table.copy(), "a": 1}),
        (table, np.asfortranarray(table)),
        (table[:, ::2], table[:, ::2].copy()),
        (table, jnp.asarray(table)),
    ]:
        assert digest(left) == digest(right)


def test_a_path_stands_for_the_content_that_lies_there(tmp_path):
    one = tmp_path / "one"
    (one / "inner").mkdir(parents=True)
    (one / "inner" / "config.json").write_bytes(b"{}")
    (one / "weights").write_bytes(b"1234")
    names = [digest(one), digest(one / "weights")]
    # Neither its own name nor where it is.
    two = shutil.copytree(one, tmp_path / "elsewhere" / "two")
    assert digest(two) == digest(one)
    assert digest(shutil.copy(one / "weights", tmp_path / "other")) == digest(one / "weights")
    (two / "weights").write_bytes(b"1235")
    names.append(digest(two))
    (two / "more").write_bytes(b"")
    names.append(digest(two))
    (two / "weights").rename(two / "renamed")
    names.append(digest(two))
    assert len(set(names)) == len(names) == 5


@pytest.fixture
def calls(monkeypatch):
    """Two functions in a module of originals: the calls of the first, and a result of the second that may be set."""
    module = types.ModuleType("tests.originals.example")
    module.seen, module.given = [], None
    module.half = lambda x: module.seen.append(x) or {"half": x / 2, "of": [float(x.sum()), "x"]}
    module.gives = lambda: module.given
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def example(mode, folder):
    return Original("example", mode, folder)


def record(folder, call):
    recorder = example(Mode.RECORD, folder)
    call(recorder)
    recorder.save()


def test_what_was_recorded_is_given_without_a_call(calls, tmp_path):
    x, y = np.arange(3.0), np.arange(4.0)
    record(tmp_path, lambda originals: originals.half(x))
    # What is recorded later is added.
    record(tmp_path, lambda originals: originals.half(x=y))
    replay = example(Mode.REPLAY, tmp_path)
    del calls.seen[:]
    for result, argument in [(replay.half(x), x), (replay.half(x=y), y)]:
        assert_identical(result, {"half": argument / 2, "of": [float(argument.sum()), "x"]})
    # A test may change what it is given; the next one sees nothing of it.
    replay.half(x)["half"][:] = 7
    assert_identical(replay.half(x)["half"], x / 2)
    assert not calls.seen


@pytest.mark.parametrize("mode", [Mode.REPLAY, Mode.LIVE])
def test_a_call_with_other_arguments_fails(calls, tmp_path, mode):
    x = np.arange(3.0)
    record(tmp_path, lambda originals: originals.half(x))
    originals = example(mode, tmp_path)
    originals.half(x)
    for call in [lambda: originals.half(x + 1e-9), lambda: originals.half(x.astype(np.float32)), originals.gives]:
        with pytest.raises(LookupError, match="was not recorded with these arguments"):
            call()


def test_live_calls_are_computed_and_agree_with_the_record_but_for_rounding(calls, tmp_path):
    calls.given = {"a": np.array([1e3, 1e-3, 0]), "n": np.arange(2)}
    record(tmp_path, lambda originals: originals.gives())
    live = example(Mode.LIVE, tmp_path)
    calls.given = {"a": np.array([1e3 + 0.05, 1e-3, 0]), "n": np.arange(2)}
    # What is computed is given, not the record.
    assert_identical(live.gives(), calls.given)
    for other in [
        {"a": np.array([1e3, 1e-3 + 0.2, 0]), "n": np.arange(2)},
        {"a": np.array([1e3, np.nan, 0]), "n": np.arange(2)},
        {"a": np.array([1e3, 1e-3, 0], np.float32), "n": np.arange(2)},
        {"a": np.array([[1e3, 1e-3, 0]]), "n": np.arange(2)},
        {"a": np.array([1e3, 1e-3, 0]), "n": np.arange(2) + 1},
        {"a": np.array([1e3, 1e-3, 0]), "m": np.arange(2)},
        {"a": np.array([1e3, 1e-3, 0])},
        [np.array([1e3, 1e-3, 0]), np.arange(2)],
    ]:
        calls.given = other
        with pytest.raises(AssertionError, match=r"the record of example\.gives is out of date"):
            live.gives()


def test_plain_numbers_agree_but_for_rounding(calls, tmp_path):
    calls.given = {"distance": 95.68075889178306, "count": 3, "of": [1.0, "x", None]}
    record(tmp_path, lambda originals: originals.gives())
    live = example(Mode.LIVE, tmp_path)
    calls.given = calls.given | {"distance": 95.68075889178323}
    assert live.gives() == calls.given
    for changed in ({"distance": 95.7}, {"count": 4}, {"count": 3.0}, {"of": [1.0, "y", None]}, {"of": [1.0, "x"]}):
        calls.given = {"distance": 95.68075889178306, "count": 3, "of": [1.0, "x", None]} | changed
        with pytest.raises(AssertionError, match=r"the record of example\.gives is out of date"):
            live.gives()


def test_large_records_are_refused(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"example\.half\.npz has \d+ bytes, more than 1000: record less"):
        record(tmp_path, lambda originals: originals.half(np.random.default_rng(0).random(1000)))


def test_random_weights_depend_on_their_own_name_and_seed_alone():
    def rule(name, shape, noise):
        return np.full(shape, 7) if name == "constant" else 2 * noise

    shapes = {"a": (2, 3), "b": (2, 3), "constant": (1,), "scalar": ()}
    weights = random_weights(shapes, 0, rule)
    assert {name: (weight.shape, weight.dtype) for name, weight in weights.items()} == {
        name: (shape, np.float32) for name, shape in shapes.items()
    }
    np.testing.assert_array_equal(weights["constant"], [7])
    np.testing.assert_array_equal(random_weights({"b": [2, 3]}, 0, rule)["b"], weights["b"])
    assert not np.array_equal(weights["a"], weights["b"])
    assert not np.array_equal(random_weights({"a": (2, 3)}, 1, rule)["a"], weights["a"])
    assert 1.9 < random_weights({"a": (10_000,)}, 0, rule)["a"].std() < 2.1
