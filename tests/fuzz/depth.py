"""Depth files: refused in one line, or finite depth of one size that the colours can show."""

import io
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np

from sr_jax.teachers.depth.colours import PUBLISHED_COLOURS
from sr_jax.teachers.depth.files import depth_frames
from tests.fuzz.base import Property, refusal

_VALUES = [0.0, -0.0, -1.0, 1.0, 0.5, 3.0, 80.0, 1e-6, 1e-29, 1e-31, 1e-42, 1e29, 1e31, 3e38, 1e300, np.inf, np.nan]
_TYPES = ("f2", "<f4", ">f4", "f8", "u1", "u2", "i4", "?", "c8", "U2", "O")
_KEYS = ("depth", "disparity", "depths", "metres")


def _read(data: bytes, kind: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.depth.npz"
        path.write_bytes(data)
        return np.stack(list(depth_frames(path, kind)))


def _saved(arrays: dict[str, np.ndarray], *, compressed: bool) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


@st.composite
def _arrays(draw) -> tuple[dict[str, np.ndarray], str, bool]:
    """Arrays of a depth file, what the config says of it, and whether it is compressed."""
    shape = tuple(draw(st.lists(st.integers(0, 3), min_size=3, max_size=3) | st.lists(st.integers(0, 3), max_size=4)))
    dtype = draw(st.sampled_from(_TYPES))
    chosen = draw(st.lists(st.sampled_from(_VALUES) | st.floats(), min_size=1, max_size=3))
    with np.errstate(all="ignore"):
        values = np.resize(np.array(chosen), shape)
        if dtype in ("u1", "u2", "i4"):
            values = np.nan_to_num(values, posinf=9, neginf=0).clip(0, 200)
        array = values.astype(dtype)
    if draw(st.integers(0, 5)) == 0:
        array = np.asfortranarray(array)
    keys = draw(st.lists(st.sampled_from(_KEYS), min_size=1, max_size=2, unique=True))
    return dict.fromkeys(keys, array), draw(st.sampled_from(["", "disparity", "depth"])), draw(st.booleans())


def _arrays_are_read_or_refused(example: tuple[dict[str, np.ndarray], str, bool]) -> None:
    """What is taken is what an independent reading of the rules takes, with the right values."""
    arrays, kind, compressed = example
    (first, array), known = next(iter(arrays.items())), [key for key in arrays if key != "metres"]
    if known:
        first, array = known[0], arrays[known[0]]
    meant = {"depth": "depth", "disparity": "disparity", "depths": kind}.get(first, "")
    good = len(known) == 1 and bool(meant) and array.ndim == 3 and array.size > 0 and array.dtype.kind in "fiu"
    # An array of one row or column is in both orders.
    good = good and array.flags.c_contiguous
    if good:
        with np.errstate(all="ignore"):
            values = array.astype(np.float32).astype(np.float64)
            good = bool((values > 0).all()) if meant == "depth" else True
            expected = 1 / values if meant == "depth" else values
            good = good and bool((np.abs(expected) <= 1e30).all())
    found = []
    line = refusal(lambda: found.append(_read(_saved(arrays, compressed=compressed), kind)))
    assert (line is None) == good, line
    if good:
        assert found[0].dtype == np.float32
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)
        shown = PUBLISHED_COLOURS.normalise(found[0])
        assert shown.min() >= 0 and shown.max() <= 1
        assert PUBLISHED_COLOURS.colour(shown).shape == (*found[0].shape, 3)


def _damaged_files_are_refused(example: tuple[bytes, list[tuple[float, int]], float]) -> None:
    """Of a file with changed or missing bytes: depth as it was, or one line; never other values."""
    data, changes, kept = example
    damaged = bytearray(data[: int(kept * len(data)) + 1])
    for place, value in changes:
        damaged[int(place * (len(damaged) - 1))] = value
    found = []
    if refusal(lambda: found.append(_read(bytes(damaged), "disparity"))) is None:
        frames = found[0]
        assert frames.ndim == 3 and np.isfinite(frames).all()
        np.testing.assert_array_equal(np.unique(frames), np.unique(_WHOLE))


_WHOLE = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
_FILES = [_saved({"disparity": _WHOLE}, compressed=compressed) for compressed in (False, True)]


def _one_pixel_does_not_decide(example: tuple[int, float, int]) -> None:
    """Of a clip with one pixel of any value, the others keep at least nearly half of the colours."""
    seed, value, place = example
    rng = np.random.default_rng(seed)
    scale, shift = 10.0 ** rng.uniform(-3, 3), rng.uniform(-10, 10)
    clip = (rng.uniform(0, scale, (5, 20, 20)) + shift).astype(np.float32)
    spoiled = clip.copy()
    spoiled.ravel()[place % clip.size] = value
    shown = np.delete(PUBLISHED_COLOURS.normalise(spoiled).ravel(), place % clip.size)
    assert np.isfinite(shown).all() and np.ptp(shown) > 0.45


PROPERTIES = [
    Property("arrays are read or refused", _arrays(), _arrays_are_read_or_refused),
    Property(
        "damaged files are refused",
        st.tuples(
            st.sampled_from(_FILES) | st.binary(min_size=1, max_size=40),
            st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
            st.just(1.0) | st.floats(0, 1),
        ),
        _damaged_files_are_refused,
    ),
    Property(
        "one pixel does not decide",
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.sampled_from([-1e30, -1e6, -1.0, 0.0, 1e-6, 1.0, 1e6, 1e30]) | st.floats(-1e30, 1e30),
            st.integers(0, 10**6),
        ),
        _one_pixel_does_not_decide,
    ),
]
