"""The formulas of the objectives on hidden states against plain loops, over shapes and grids that do not match."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.alignment.crepa import crepa_similarities, on_one_grid
from sr_jax.alignment.layersync import layersync_similarity
from sr_jax.alignment.options import CrepaOptions
from sr_jax.alignment.repa import repa_similarity, spatial_norm
from sr_jax.alignment.tokens import cosine, on_latent_frames, resized, unit
from sr_jax.alignment.trd import trd_loss
from tests.alignment import references

_GRIDS = [((2, 3, 2), (2, 3, 2)), ((3, 5, 4), (6, 2, 3)), ((4, 2, 3), (1, 4, 3))]
_CHANNELS = 5


def _tokens(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _float64(*batches):
    """The clips of one batch or several, together."""
    return zip(*(np.asarray(batch, np.float64) for batch in batches))


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("before", "after"), [*_GRIDS, ((1, 7, 6), (1, 3, 6))])
def test_interpolation(before, after):
    tokens = _tokens(2, *before, _CHANNELS)
    found = jax.jit(resized, static_argnums=1)(tokens, after)
    _close(found, [references.resized(clip, after) for (clip,) in _float64(tokens)])


def test_a_token_of_two_latent_frames_is_of_both_and_added_frames_go():
    # Five latent frames, to which a sixth was added in front: tokens 0, 1 and 2 cover (added, 0), (1, 2), (3, 4).
    tokens = jnp.arange(3.0).reshape(1, 3, 1, 1, 1)
    assert on_latent_frames(tokens, 5, 2).ravel().tolist() == [0, 1, 1, 2, 2]
    assert on_latent_frames(tokens, 3, 1).ravel().tolist() == [0, 1, 2]


def test_tokens_of_length_0_are_similar_to_nothing_and_have_a_finite_gradient():
    tokens = _tokens(3, _CHANNELS).at[1].set(0.0)
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(cosine(x, jnp.ones_like(x))))(tokens)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert unit(tokens.astype(jnp.bfloat16)).dtype == jnp.float32 and not np.any(unit(tokens)[1])


@pytest.mark.parametrize(("ours", "theirs"), _GRIDS)
@pytest.mark.parametrize("share", [None, 0.6])
def test_repa(ours, theirs, share):
    student, teacher = _tokens(2, *ours, _CHANNELS), 3 + _tokens(2, *theirs, _CHANNELS, seed=1)

    def similarity(student, teacher):
        return repa_similarity(student, teacher if share is None else spatial_norm(teacher, share))

    expected = []
    for a, b in _float64(student, teacher):
        b = b if share is None else references.spatial_norm(b, share)
        expected.append(references.mean_cosine(references.resized(a, theirs), b))
    _close(jax.jit(similarity)(student, teacher), expected)


@pytest.mark.parametrize("relations", ["spatial", "temporal", "both"])
@pytest.mark.parametrize("grid", [(2, 3, 2), (3, 1, 4)])
def test_trd(grid, relations):
    student, teacher = _tokens(2, *grid, _CHANNELS), _tokens(2, *grid, _CHANNELS, seed=1)
    found = jax.jit(trd_loss, static_argnums=(2, 3))(student, teacher, 0.1, relations)
    _close(found, [references.trd(a, b, 0.1, relations) for a, b in _float64(student, teacher)])


def test_trd_of_equal_relations_is_0():
    tokens = _tokens(1, 2, 2, 2, _CHANNELS)
    assert trd_loss(tokens, 7 * tokens, 1e-5, "both") == 0


@pytest.mark.parametrize(
    "options",
    [
        CrepaOptions(),
        CrepaOptions(distance=2, tau=0.7),
        CrepaOptions(distance=2, tau=3.0, all_offsets=True, divide=True),
        CrepaOptions(distance=9, divide=True),
    ],
)
def test_crepa(options):
    student, teacher = _tokens(2, 4, 3, 2, _CHANNELS), _tokens(2, 4, 3, 2, _CHANNELS, seed=1)
    found = jax.jit(crepa_similarities, static_argnums=2)(student, teacher, options)
    settings = (options.distance, options.tau, options.all_offsets, options.divide)
    expected = [references.crepa(a, b, *settings) for a, b in _float64(student, teacher)]
    _close(found, np.transpose(expected))


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [
        # Frames are picked of the teacher, and its rows and columns are the fewer.
        ((2, 4, 6), (5, 2, 3), (2, 2, 3)),
        # Of the student, which has the fewer patches, though not the fewer columns.
        ((7, 1, 6), (3, 4, 4), (3, 1, 6)),
    ],
)
def test_crepa_brings_both_sides_to_the_lesser_grid(ours, theirs, common):
    sides = _tokens(1, *ours, 2), _tokens(1, *theirs, 2, seed=1)
    picked = {5: [0, 4], 7: [0, 3, 6], 2: [0, 1], 3: [0, 1, 2]}
    for side, found in zip(sides, on_one_grid(*sides)):
        frames = np.asarray(side, np.float64)[0, picked[side.shape[1]]]
        _close(found[0], references.resized(frames, common))


def test_layersync_and_its_gradient():
    hidden, deeper = _tokens(2, 2, 3, 2, _CHANNELS), _tokens(2, 2, 3, 2, _CHANNELS, seed=1)
    expected = [references.mean_cosine(a, b) for a, b in _float64(hidden, deeper)]
    _close(layersync_similarity(hidden, deeper), expected)
    to_hidden, to_deeper = jax.grad(lambda *both: layersync_similarity(*both).sum(), argnums=(0, 1))(hidden, deeper)
    assert np.all(to_hidden != 0) and not np.any(to_deeper)
