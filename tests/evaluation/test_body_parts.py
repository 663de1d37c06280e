import itertools

import ml_collections
import numpy as np
import pytest

from sr_jax.evaluation.body_parts import (
    PartTracks,
    area_jumps,
    doubled,
    follow_parts,
    missing,
    place_jumps,
    split,
    usual_areas,
)
from sr_jax.evaluation.judges import Judges
from sr_jax.evaluation.metrics.base import Clip, build_metrics
from sr_jax.evaluation.metrics.structure_error_aligned import aligned_structure_error
from sr_jax.evaluation.scoring import score_clips
from sr_jax.media.video import to_unit_range
from tests.evaluation.fakes import ColourParts, PatchCodec


def _flooded(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Connected pieces by flooding, pixel by pixel."""
    left, pieces = {tuple(place) for place in np.argwhere(mask)}, []
    while left:
        queue = [left.pop()]
        piece = list(queue)
        while queue:
            y, x = queue.pop()
            around = {(y + dy, x + dx) for dy, dx in itertools.product((-1, 0, 1), repeat=2)} & left
            left -= around
            queue += around
            piece += around
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize(("seed", "shape"), [(0, (3, 12, 9)), (1, (2, 40, 50)), (2, (1, 7, 7))])
def test_pieces_areas_and_places_are_those_of_flooding(seed, shape):
    rng = np.random.default_rng(seed)
    maps = (rng.integers(0, 4, shape) * (rng.random(shape) < 0.6)).astype(np.uint8)
    tracks = follow_parts(maps, 4)
    least = max(1, 0.0015 * shape[1] * shape[2])
    for frame, number in itertools.product(range(shape[0]), range(1, 5)):
        pieces = [piece for piece in _flooded(maps[frame] == number) if len(piece) >= least]
        pixels = list(itertools.chain(*pieces))
        assert tracks.pieces[frame, number - 1] == len(pieces)
        assert tracks.areas[frame, number - 1] == len(pixels)
        centre = np.mean(pixels, axis=0) if pixels else [np.nan, np.nan]
        np.testing.assert_allclose(tracks.places[frame, number - 1], centre)


def _tracks(pieces, areas) -> PartTracks:
    pieces, areas = np.array(pieces), np.array(areas)
    return PartTracks(pieces, areas, np.zeros((*areas.shape, 2)))


def test_missing_split_and_doubled_are_told_apart():
    real = _tracks([[1, 1, 0], [1, 1, 0], [1, 0, 0]], [[100, 40, 0], [80, 44, 0], [120, 0, 0]])
    np.testing.assert_array_equal(usual_areas(real), [100, 42, np.nan])
    ours = _tracks(
        # As real; the second missing; the first cut; the first twice; one large piece; the third, which no frame shows.
        [[1, 1, 0], [1, 0, 0], [2, 1, 0], [2, 1, 0], [1, 1, 0], [1, 1, 2]],
        [[100, 40, 0], [100, 0, 0], [140, 40, 0], [150, 40, 0], [190, 40, 0], [100, 40, 60]],
    )
    np.testing.assert_array_equal(missing(ours, real), [False, True, False, False, False, False])
    np.testing.assert_array_equal(split(ours, real), [False, False, True, False, False, False])
    np.testing.assert_array_equal(doubled(ours, real), [False, False, False, True, False, False])
    # In the real clip itself a part that its first frame shows is missing in its last.
    np.testing.assert_array_equal(missing(real, real), [False, False, True])


def test_a_steady_change_is_no_jump_and_others_are_in_percent():
    steps = np.arange(5)
    areas = np.stack([100 + 10 * steps, np.array([50, 50, 80, 50, 50])], axis=1)
    real = _tracks(np.ones((5, 2), int), np.tile([200, 50], (5, 1)))
    places = np.zeros((5, 2, 2))
    places[:, 0] = np.outer(steps, [3.0, -4.0])
    places[2, 1] = [6.0, 8.0]
    places[4, 1] = np.nan
    tracks = PartTracks(np.ones((5, 2), int), areas, places)
    np.testing.assert_allclose(area_jumps(tracks, real), [np.nan, 100 * 15 / 50 / 2, 100 * 30 / 50 / 2, 15, np.nan])
    # The second part has no place in the last frame: only the first counts in the one before.
    np.testing.assert_allclose(place_jumps(tracks, 40), [np.nan, 100 / 40 * 5 / 2, 100 / 40 * 10 / 2, 0, np.nan])


@pytest.mark.parametrize(("seed", "f", "g"), [(0, 4, 4), (1, 5, 3), (2, 3, 6), (3, 1, 4), (4, 4, 1)])
def test_alignment_in_time_is_the_best_of_all(seed, f, g):
    rng = np.random.default_rng(seed)
    ours, real = rng.random((f, 3, 2)), rng.random((g, 3, 2))
    orders = itertools.combinations_with_replacement(range(g), f)
    best = min(np.mean([np.abs(frame - real[place]).mean() for frame, place in zip(ours, order)]) for order in orders)
    np.testing.assert_allclose(aligned_structure_error(ours, real), 100 * best)


def test_a_motion_at_half_the_speed_has_no_error_when_aligned():
    real = np.random.default_rng(0).random((4, 5, 6))
    assert aligned_structure_error(np.repeat(real, 2, axis=0), real) == 0
    assert aligned_structure_error(real[::2], real) == 0
    assert aligned_structure_error(real[::-1], real) > 5


def test_metrics_read_what_the_judge_of_parts_sees_in_the_clip_and_in_the_real_one():
    names = ("parts_missing", "parts_split", "parts_doubled", "part_area_jumps", "part_place_jumps")
    metrics = build_metrics(ml_collections.ConfigDict({"metrics": names}))
    real = np.zeros((4, 16, 20, 3), np.uint8)
    real[:, 2:6, 2:6, 0] = real[:, 9:13, 2:12, 1] = 250
    shown = real.copy()
    # The red square is gone, the green bar cut, the red square twice: each in one frame.
    shown[1, 2:6, 2:6] = shown[2, 9:13, 6:8] = 0
    shown[3, 2:6, 10:14, 0] = 250
    codec = PatchCodec()
    latents = np.asarray(codec.encode(to_unit_range(np.concatenate([shown, shown[-1:]])[None]))[0][0])
    reference = np.concatenate([real, real[-1:]])
    clip = Clip("a", reference, np.zeros(reference.shape[:3]), latents)
    [(_, scores)] = score_clips(
        iter([clip]), Judges(codec, body_parts=ColourParts()), list(metrics.values()), batch_size=2
    )
    assert [scores.values[name] for name in names[:3]] == [20, 20, 40]
    np.testing.assert_array_equal(scores.frames["parts_missing"], [0, 100, 0, 0, 0])
    # Red: 16, 0, 16, 32, 32 of 16 pixels; green: 40, 40, 32, 40, 40 of 40.
    np.testing.assert_allclose(scores.frames["part_area_jumps"][1:4], [(100 + 10) / 2, (0 + 20) / 2, (50 + 10) / 2])
    # The red square's centre moves by 4 pixels to the right in the last frames; it has none in the second one.
    np.testing.assert_allclose(scores.frames["part_place_jumps"][1:4], [0, 0, 100 / 16 * (2 + 0) / 2], atol=1e-9)
    assert scores.values["part_area_jumps"] == np.mean(scores.frames["part_area_jumps"][1:4])
