import collections
import pickle

import numpy as np
import pytest

from sr_jax.conversion.old_torch_file import read_old_torch_file
from sr_jax.errors import UserError

TENSORS = {
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
    "counts": np.arange(6, dtype=np.int64) - 3,
    "double": np.linspace(0, 1, 6),
    "half": np.linspace(0, 1, 24).astype(np.float16).reshape(2, 3, 4),
}


@pytest.fixture
def content(original):
    return original("mobilenet_v2").saved(TENSORS)


def test_tensors_are_those_that_pytorch_saved(content, tmp_path):
    (tmp_path / "old.pth").write_bytes(content)
    tensors = read_old_torch_file(tmp_path / "old.pth")
    matrix = TENSORS["matrix"]
    expected = TENSORS | {"transposed": matrix.T, "part": matrix[1:]}
    assert list(tensors) == list(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype
        np.testing.assert_array_equal(tensor, expected[name])


def _refused(tmp_path, content, message):
    (tmp_path / "old.pth").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_old_torch_file(tmp_path / "old.pth")
    assert "\n" not in str(error.value)


def test_other_and_damaged_files_are_refused(content, tmp_path):
    _refused(tmp_path, content[:-4], r"cannot read .*old\.pth: it ends too early")
    _refused(tmp_path, content[:300], r"cannot read .*old\.pth")
    _refused(tmp_path, b"", r"cannot read .*old\.pth")
    _refused(tmp_path, pickle.dumps(1), "it was not written by torch.save before PyTorch 1.6")
    # As newer versions begin.
    _refused(tmp_path, b"PK\x03\x04" + content, r"cannot read .*old\.pth")
    with pytest.raises(UserError, match=r"cannot read .*gone\.pth"):
        read_old_torch_file(tmp_path / "gone.pth")


class Harmful:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize("harm", [Harmful(), collections.Counter("a"), np.float64(1)])
def test_nothing_but_tensors_is_made_of_a_file(tmp_path, capsys, harm):
    parts = [0x1950A86A20F9469CFC6C, 1001, {}, {"weight": harm}, []]
    _refused(tmp_path, b"".join(pickle.dumps(part, protocol=2) for part in parts), "it holds a ")
    assert "unpickled" not in capsys.readouterr().out
