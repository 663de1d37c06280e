"""Settings for every test: CPU, checked shapes, and a compile cache that outlives the run."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
from absl import flags
from jaxtyping import install_import_hook

flags.FLAGS.mark_as_parsed()
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "sr_jax_compile_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
# Every annotated function of the package is checked against its shapes and types in tests.
install_import_hook("sr_jax", "beartype.beartype")
