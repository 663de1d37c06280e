from pathlib import Path

import numpy as np
import pytest
import safetensors

from sr_jax.conversion.tensor_files import write_tensors


def test_tensors_are_written_for_whom_the_umask_lets_read_them(tmp_path, monkeypatch):
    path, array = tmp_path / "a.safetensors", np.arange(6, dtype=np.float16).reshape(2, 3)
    write_tensors(path, {"x": array.T}, {"made": "here"})
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    with safetensors.safe_open(path, framework="numpy") as stored:
        np.testing.assert_array_equal(stored.get_tensor("x"), array.T)
        assert stored.metadata() == {"made": "here"}

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_tensors(path, {"x": array})
    assert path.exists() and len(list(tmp_path.iterdir())) == 2
