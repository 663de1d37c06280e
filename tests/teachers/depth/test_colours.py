import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.depth.colours import (
    COLOUR_TABLES,
    INFERNO,
    PUBLISHED_COLOURS,
    DepthColours,
    colour_depth,
    invert_colour,
    normalise_disparity,
    range_without_outliers,
)


def test_colours_are_inferno():
    # Three values of matplotlib's table.
    np.testing.assert_allclose(INFERNO[[0, 128, 255]], [[0, 0, 4], [188, 55, 84], [252, 255, 164]], atol=3)


def test_normalisation_is_over_the_whole_clip():
    disparity = np.array([[[1.0, 2.0]], [[3.0, 5.0]]], np.float32)
    np.testing.assert_allclose(normalise_disparity(disparity), [[[0, 0.25]], [[0.5, 1]]])
    assert not normalise_disparity(np.full((1, 2, 2), 7.0, np.float32)).any()


@pytest.mark.parametrize("shape", [(1, 3, 7), (4, 16, 12)])
def test_colours_are_read_back(shape):
    disparity = np.random.default_rng(0).uniform(2, 9, shape).astype(np.float32)
    colours = colour_depth(disparity)
    assert colours.dtype == np.uint8
    expected = normalise_disparity(disparity)
    np.testing.assert_allclose(invert_colour(colours), expected, atol=0.51 / 255)
    noisy = colours.astype(np.float32) / 127.5 - 1 + np.random.default_rng(1).normal(0, 0.005, colours.shape)
    np.testing.assert_allclose(invert_colour(noisy.astype(np.float32)), expected, atol=8 / 255)


@pytest.mark.parametrize("name", sorted(COLOUR_TABLES))
def test_every_map_can_be_read_back(name):
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16)
    colours = DepthColours(colour_map=name).colour(values)
    # A few colours of a map may be the same as their neighbours.
    np.testing.assert_allclose(invert_colour(colours, name), values, atol=1.1 / 255)
    wrong = invert_colour(colours, "grey" if name != "grey" else "turbo")
    assert np.abs(wrong - values).max() > 0.1


def test_percentiles_cut_what_is_far_out():
    disparity = np.arange(101, dtype=np.float32).reshape(1, 1, 101)
    disparity[0, 0, 100] = 1e6
    assert PUBLISHED_COLOURS.normalise(disparity)[0, 0, 99] < 1e-3
    got = DepthColours(low_percentile=10.0, high_percentile=90.0).normalise(disparity)
    np.testing.assert_allclose(got[0, 0], np.clip((np.arange(101) - 10) / 80, 0, 1), atol=1e-6)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(PUBLISHED_COLOURS.normalise(disparity), normalise_disparity(disparity))


def _clip():
    """A ramp in [1, 3] that moves, as many pixels as a small clip has."""
    return np.linspace(1, 3, 5 * 40 * 40, dtype=np.float32).reshape(5, 40, 40)


@pytest.mark.parametrize("value", [-1e30, -40.0, -1.1, 5.1, 7.0, 1e6, 1e30])
def test_one_pixel_does_not_decide_the_range(value):
    expected = normalise_disparity(_clip())
    spoiled = _clip()
    spoiled[2, 10, 10] = value
    normalised = PUBLISHED_COLOURS.normalise(spoiled)
    assert normalised[2, 10, 10] == float(value > 2)
    others = np.arange(spoiled.size) != np.ravel_multi_index((2, 10, 10), spoiled.shape)
    # The range ends at the last thousandth instead.
    np.testing.assert_allclose(normalised.ravel()[others], expected.ravel()[others], atol=2e-3)
    assert len(np.unique(colour_depth(expected))) == len(np.unique(PUBLISHED_COLOURS.colour(normalised)))


def test_what_is_near_and_small_but_not_far_out_keeps_its_place():
    clip = _clip()
    clip[2, 10, 10] = 4.9
    assert range_without_outliers(clip) == (1, np.float32(4.9))
    np.testing.assert_array_equal(PUBLISHED_COLOURS.normalise(clip), normalise_disparity(clip))
    np.testing.assert_array_equal(PUBLISHED_COLOURS.normalise(_clip()), normalise_disparity(_clip()))
    # A clip that is constant but for a pixel has nothing else to show.
    constant = np.full((5, 40, 40), 2, np.float32)
    constant[0, 0, 0] = 3
    assert range_without_outliers(constant) == (2, 3)
    assert not PUBLISHED_COLOURS.normalise(np.full((5, 40, 40), 2, np.float32)).any()


def test_bad_colours_are_refused():
    with pytest.raises(UserError, match=r"colour_map is 'rainbow': choose one of cividis, grey, inferno"):
        DepthColours(colour_map="rainbow")
    for low, high in [(50.0, 50.0), (-1.0, 100.0), (0.0, 101.0)]:
        with pytest.raises(UserError, match="percentiles"):
            DepthColours(low_percentile=low, high_percentile=high)
