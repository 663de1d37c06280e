import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sr_jax.alignment.identity_module import IdentityConfig, IdentityModule
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.resnet import ResNet

CONFIG = IdentityConfig(latent_channels=4, use_depth=True, widths=(8, 16), blocks_per_stage=2, embedding_dim=6)


def random_params(module: Functional, seed: int = 0) -> dict:
    """Uniform, which has the same bits on every machine: a record belongs to every bit of its inputs."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.uniform(-0.5, 0.5, x.shape).astype(np.float32), module.abstract_params())


def identity(config: IdentityConfig, **options) -> Functional:
    return Functional(lambda rngs: IdentityModule(config, rngs=rngs, **options))


@pytest.mark.parametrize(
    ("size", "pooled_size"), [((16, 12), (1, 1)), ((7, 9), (1, 1)), ((16, 12), (4, 3)), ((22, 18), (4, 2))]
)
def test_resnet_matches_pytorch(original, size, pooled_size):
    module = Functional(lambda rngs: ResNet(3, (8, 16, 24), 2, 5, pooled_size, rngs=rngs))
    params = random_params(module)
    images = np.random.default_rng(1).uniform(-2, 2, (2, *size, 3)).astype(np.float32)
    expected = original("resnet").forward(params, images, blocks_per_stage=2, pooled_size=pooled_size)
    got = jax.jit(module.apply)(params, images)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("use_depth", "dtype"), [(True, jnp.float32), (False, jnp.bfloat16)])
def test_one_unit_embedding_per_latent_frame(use_depth, dtype):
    config = IdentityConfig(4, use_depth, (8, 16), 1, 6)
    module = identity(config, dtype=dtype)
    params = random_params(module)
    latents = jax.random.normal(jax.random.key(1), (2, 3, 8, 6, 4))
    depth = jax.random.normal(jax.random.key(2), latents.shape) if use_depth else None
    apply = jax.jit(module.apply)
    embeddings = apply(params, latents, depth)
    assert embeddings.shape == (2, 3, 6) and embeddings.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1, atol=1e-5)
    # A frame's embedding depends on this frame alone.
    changed = apply(params, latents.at[:, 1].add(1.0), depth)
    moved = np.abs(changed - embeddings).max(axis=(0, 2))
    assert moved[1] > 1e-3 and max(moved[0], moved[2]) < 1e-6


def test_depth_matters_when_it_is_used():
    module = identity(CONFIG)
    params = random_params(module)
    latents, depth = jax.random.normal(jax.random.key(0), (2, 1, 1, 8, 6, 4))
    apply = jax.jit(module.apply)
    assert np.abs(apply(params, latents, depth) - apply(params, latents, -depth)).max() > 1e-3


def test_gradient_is_finite_at_a_zero_embedding():
    module = identity(CONFIG)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), module.abstract_params())
    latents = jnp.ones((1, 1, 8, 6, 4))
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(module.apply(params, latents, latents))))(zeros)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("use_depth", [True, False])
def test_depth_must_be_given_exactly_when_it_is_used(use_depth):
    module = identity(IdentityConfig(4, use_depth, (8,), 1, 6))
    latents = jnp.zeros((1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match="depth_latents"):
        jax.eval_shape(module.apply, module.abstract_params(), latents, None if use_depth else latents)


def test_every_parameter_names_its_axes():
    for path, variable in nnx.to_flat_state(identity(CONFIG).abstract):
        assert len(variable.get_metadata("logical_axes")) == variable.get_value().ndim, path


def test_a_width_that_groups_do_not_divide_is_refused():
    with pytest.raises(UserError, match="multiples of 8, not 12"):
        identity(IdentityConfig(4, True, (8, 12), 1, 6))
