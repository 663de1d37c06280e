import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.demo.fit_teachers.angular_margin import angular_margin_loss


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "k", "scale", "margin"), [(5, 3, 16.0, 0.3), (2, 7, 64.0, 0.5), (4, 4, 8.0, 0.0)])
def test_equals_the_papers_formula(n, k, scale, margin):
    rng = np.random.default_rng(n)
    embeddings, centres = unit(rng.normal(size=(n, 6))), rng.normal(size=(k, 6)) * 3
    labels = rng.integers(0, k, n)
    angles = np.arccos(embeddings @ unit(centres).T)
    expected = []
    for i, label in enumerate(labels):
        logits = scale * np.cos(angles[i])
        logits[label] = scale * np.cos(min(angles[i, label] + margin, np.pi))
        expected.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])
    arrays = (jnp.asarray(embeddings, jnp.float32), jnp.asarray(centres, jnp.float32), jnp.asarray(labels, jnp.int32))
    np.testing.assert_allclose(angular_margin_loss(*arrays, scale=scale, margin=margin), expected, rtol=1e-4, atol=1e-4)


def test_gradient_is_finite_at_a_perfect_match():
    centres = jnp.eye(3)
    gradient = jax.grad(lambda x: angular_margin_loss(x, centres, jnp.arange(3), scale=16.0, margin=0.3).sum())(centres)
    assert np.isfinite(gradient).all()
