"""Settings for every test: CPU, checked shapes, and a compile cache that outlives the run."""

import os
import tempfile
from pathlib import Path

from tests.compiling import QUICK_COMPILES

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", QUICK_COMPILES]
)

import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

from tests.originals.recording import Mode, Original

flags.FLAGS.mark_as_parsed()
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "sr_jax_compile_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
# Every annotated function of the package is checked against its shapes and types in tests.
install_import_hook("sr_jax", "beartype.beartype")


def pytest_addoption(parser):
    parser.addoption("--live", action="store_true", help="everything; what compares with PyTorch computes it anew")
    parser.addoption("--parity", action="store_true", help="only what compares with PyTorch, computed anew")
    parser.addoption("--record", action="store_true", help="with --parity and -n 0: write what the originals compute")


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_torch: of what only works with PyTorch: run under --parity and --live")


def pytest_collection_modifyitems(config, items):
    only_parity = config.getoption("parity")
    has_torch = only_parity or config.getoption("live")

    def runs(item) -> bool:
        if item.get_closest_marker("needs_torch") is not None:
            return has_torch
        return not only_parity or "original" in item.fixturenames

    config.hook.pytest_deselected(items=[item for item in items if not runs(item)])
    items[:] = filter(runs, items)


@pytest.fixture(scope="session")
def original(request):
    """Gives a module of `tests.originals` by its name: live under --parity and --live, else from the records."""
    option = request.config.getoption
    live = option("parity") or option("live")
    mode = Mode.RECORD if option("record") else Mode.LIVE if live else Mode.REPLAY
    modules = {}

    def get(name: str) -> Original:
        if name not in modules:
            modules[name] = Original(name, mode)
        return modules[name]

    yield get
    for module in modules.values():
        module.save()
