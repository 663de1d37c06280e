import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.models.dpt import resize
from sr_jax.models.functional import Functional
from sr_jax.models.temporal_attention import TemporalModule, frame_positions
from sr_jax.models.video_depth import RELEASED, VideoDepthAnything
from sr_jax.parallel import mesh, sharding
from tests.comparison import relative_error
from tests.models.tiny_video_depth import NETWORK, SIZES, TINY, our_params, sinusoids, weights


@pytest.fixture(scope="module")
def params():
    return our_params(weights(SIZES, 0))


def frames(*shape):
    return np.random.default_rng(0).standard_normal((*shape, 3)).astype(np.float32)


# The last has more frames than one step, in a number that steps divide; the first needs no new positions.
@pytest.mark.parametrize("shape", [(3, 70, 70), (8, 56, 42)])
def test_the_whole_network_matches_the_description(original, params, shape):
    clip = frames(*shape)
    expected = original("video_depth").depth(SIZES, 0, clip)
    assert (expected > 0).mean() > 0.2
    got = jax.jit(NETWORK.apply)(params, clip[None])
    assert got.dtype == jnp.float32
    assert relative_error(got[0], expected) < 1e-4


def test_clips_do_not_see_each_other(params):
    clips = frames(2, 2, 28, 14)
    apply = jax.jit(NETWORK.apply)
    together = apply(params, clips)
    assert relative_error(together[1], apply(params, clips[::-1])[0]) < 1e-5


@pytest.mark.parametrize(("width", "frames_", "size"), [(32, 32, (2, 3)), (64, 7, (3, 1))])
def test_temporal_modules_match_the_description(original, params, width, frames_, size):
    index = {32: 2, 64: 1}[width]
    x = np.random.default_rng(1).standard_normal((frames_, *size, width)).astype(np.float32)
    expected = original("video_depth").temporal_module(SIZES, 0, index, x)
    module = Functional(lambda rngs: TemporalModule(width, rngs=rngs, dtype=jnp.float32))
    got = jax.jit(module.apply)(params["head"]["motion_modules"][index], x[None])
    assert relative_error(got[0], expected) < 1e-5
    assert relative_error(got[0], x) > 0.1


def test_positions_are_the_published_sinusoids():
    np.testing.assert_allclose(frame_positions(32, 24), sinusoids(32, 24), atol=1e-6)


def test_a_new_temporal_module_changes_nothing():
    module = Functional(lambda rngs: TemporalModule(32, rngs=rngs, dtype=jnp.float32))
    x = jax.random.normal(jax.random.key(1), (1, 3, 2, 2, 32))
    np.testing.assert_array_equal(jax.jit(module.apply)(module.init(jax.random.key(0)), x), x)


@pytest.mark.parametrize("size", [(70, 70), (42, 84)])
def test_without_temporal_modules_it_is_transformers_depth_anything(original, size):
    config = dataclasses.replace(TINY, backbone=dataclasses.replace(TINY.backbone, interpolate_offset=0.0))
    network = Functional(lambda rngs: VideoDepthAnything(config, rngs=rngs))
    clip = frames(2, *size)
    expected = original("depth_anything").depth(SIZES, 1, clip)
    assert (expected > 0).mean() > 0.2
    params = our_params(weights(SIZES, 1, temporal=False))
    assert relative_error(jax.jit(network.apply)(params, clip[None])[0], expected) < 1e-4


@pytest.mark.parametrize(("size", "new_size"), [((3, 5), (7, 4)), ((1, 4), (3, 4)), ((4, 6), (1, 12))])
def test_resizing_aligns_corners(original, size, new_size):
    x = np.random.default_rng(2).standard_normal((2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(
        resize(jnp.asarray(x), new_size), original("video_depth").resized(x, new_size), atol=1e-6
    )


def test_bfloat16_is_close(original, params):
    half = Functional(lambda rngs: VideoDepthAnything(TINY, rngs=rngs, dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.abstract_params())} == {jnp.dtype(jnp.float32)}
    clip = frames(1, 28, 14)
    expected = original("video_depth").depth(SIZES, 0, clip)
    got = np.asarray(jax.jit(half.apply)(params, clip[None])[0])
    assert 1e-4 < np.linalg.norm(got - expected) / np.linalg.norm(expected) < 5e-2


def test_every_parameter_of_a_full_size_network_has_a_sharding():
    network = Functional(lambda rngs: VideoDepthAnything(RELEASED["large"], rngs=rngs))
    shardings = sharding.param_shardings(
        network.abstract, mesh.make_mesh({"data": 1, "fsdp": 8, "tensor": 1}), sharding.ShardingRules()
    )
    assert shardings["pretrained"]["blocks"]["qkv"]["kernel"].shard_shape((24, 1024, 3072)) == (24, 128, 3072)
