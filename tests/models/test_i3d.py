import copy
import math
import pickle

import numpy as np
import pytest

from sr_jax.conversion.i3d import params_from_variables
from sr_jax.conversion.numpy_pickle import read_arrays
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.fvd import load_i3d, prepare, window
from sr_jax.models.i3d import I3DConfig
from tests.comparison import relative_error
from tests.models.tiny_i3d import TINY, units, variables


def _clips(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-127, 128, shape).astype(np.float32) / np.float32(128)


# Frames, rows and columns that SAME padding pads unevenly.
@pytest.mark.parametrize("shape", [(12, 41, 70, 3)])
def test_logits_are_those_of_pytorch(original, tmp_path, shape):
    clip = _clips(shape)
    (tmp_path / "i3d.ckpt").write_bytes(pickle.dumps(variables(TINY)))
    blocks = [len(stage) for stage in TINY.stages]
    [expected] = original("i3d").logits(variables(TINY), blocks, list(TINY.head), clip[None])
    assert relative_error(load_i3d(tmp_path / "i3d.ckpt", TINY)(clip), expected) < 1e-5
    assert np.std(expected) > 0.1


def test_frames_are_stretched_as_the_convention_says(original):
    frames = np.random.default_rng(1).integers(0, 256, (2, 30, 51, 3), dtype=np.uint8)
    for side in (17, 64):
        expected = original("i3d").stretched(frames.astype(np.float32), side) / 127.5 - 1
        np.testing.assert_allclose(prepare(frames, side), expected, atol=2e-5)


def test_windows_are_drawn_by_name_over_the_whole_clip():
    windows = [window(f"clip{number}", 49, 16) for number in range(300)]
    assert windows[3] == window("clip3", 49, 16) and {w.stop - w.start for w in windows} == {16}
    assert {w.start for w in windows} == set(range(34))
    assert window("a", 16, 16) == slice(0, 16)


def test_the_full_size_is_as_published():
    sizes = units(I3DConfig()).values()
    assert sum(before * behind * side**3 for before, behind, side in sizes) == 12_682_304


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "i3d.ckpt"
    path.write_bytes(pickle.dumps(variables(TINY))[:5000])
    with pytest.raises(UserError, match=r"cannot read .*i3d\.ckpt"):
        read_arrays(path)
    path.write_bytes(pickle.dumps({"a": math.prod}))
    with pytest.raises(UserError, match=r"it holds a math\.prod"):
        read_arrays(path)
    with pytest.raises(UserError, match=r"cannot read .*missing"):
        read_arrays(tmp_path / "missing")


def test_other_networks_are_refused():
    changed = copy.deepcopy(variables(TINY))
    del changed["params"]["Mixed_3c"]
    with pytest.raises(UserError, match="'Mixed_3c' is missing"):
        params_from_variables(TINY, changed)
    with pytest.raises(UserError, match=r"logits\.bias is \(7,\) instead of \(400,\)"):
        params_from_variables(I3DConfig(stages=TINY.stages), variables(TINY))
