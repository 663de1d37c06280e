"""Trees of arrays: loaded and compared."""

import jax
import jax.numpy as jnp
import numpy as np

from sr_jax.checkpoints.reading import open_params
from sr_jax.parallel.lazy import on_host
from sr_jax.training.state import Progress

PLAIN = {"alignment.structure.weight": 0.0, "alignment.identity.weight": 0.0}
"""What makes a stage two plain fine-tuning."""

LORA = {"lora.rank": 2, "lora.alpha": 4.0, "optimizer.learning_rate": 0.03}
"""What trains low-rank factors of attention in place of the transformer."""


def load_params(workdir, **which):
    """`open_params`, but as NumPy arrays."""
    params, meta = open_params(workdir, **which)
    return on_host(params), meta


def batch_loss(stage):
    """`(params, frozen, batch, key) -> (loss, metrics)`: draws, and then the loss, of the first step."""
    first = Progress(jnp.int32(0), stage.running)
    return lambda params, frozen, batch, key: stage.loss(params, frozen, stage.draw(frozen, batch, key, first))


def assert_same_bits(left, right):
    """Two trees have the same structure and the same bits."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right)):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def assert_close(left, right, **tolerance):
    """Two trees have the same structure and close values."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right)):
        np.testing.assert_allclose(a, b, err_msg=jax.tree_util.keystr(path), **tolerance)


def assert_equal_but_for_rounding(left, right):
    """Every leaf of the one tree is that of the other, to 1e-5 of its norm."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right)):
        error = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-6)
        assert error < 1e-5, f"{jax.tree_util.keystr(path)}: {error}"
