import importlib.util
import subprocess
import sys

import pytest

import sr_jax
from sr_jax import api


def test_every_name_of_the_package_is_one_of_the_api():
    assert list(sr_jax.__all__) == sorted(sr_jax.__all__) and set(sr_jax.__all__) < set(api.__all__)
    assert all(getattr(sr_jax, name) is getattr(api, name) for name in sr_jax.__all__)
    assert {*sr_jax.__all__} < {*dir(sr_jax)}
    with pytest.raises(AttributeError, match="no attribute 'load_pipelines'"):
        _ = sr_jax.load_pipelines


def test_no_name_hides_a_module():
    assert [name for name in sr_jax.__all__ if importlib.util.find_spec(f"sr_jax.{name}")] == []


def test_importing_the_package_imports_nothing_that_takes_time():
    code = "import sys, sr_jax; print(sorted({'jax', 'numpy', 'sr_jax.api'} & {*sys.modules}), len(sr_jax.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", str(len(sr_jax.__all__))]
