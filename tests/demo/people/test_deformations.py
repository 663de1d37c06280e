import numpy as np
import pytest

from sr_jax.demo.people.deformations import DEFORMATIONS, deform, exchange_face
from sr_jax.demo.people.parts import PARTS
from sr_jax.evaluation.body_parts import doubled, follow_parts, missing, place_jumps, split

HEIGHT, WIDTH, FRAMES = 64, 64, 9
COLOURS = np.random.default_rng(0).integers(60, 255, (len(PARTS) + 1, 3)).astype(np.uint8)


def _person():
    """A head over a torso with two arms of three parts, that walks to the right by a pixel a frame."""
    maps = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    for step, frame in enumerate(maps):
        x = 24 + step
        frame[4:14, x - 5 : x + 5] = 1 + PARTS.index("head")
        frame[14:44, x - 6 : x + 6] = 1 + PARTS.index("torso")
        for side, columns in (("right", slice(x - 10, x - 6)), ("left", slice(x + 6, x + 10))):
            for name, rows in (("upper arm", slice(15, 25)), ("forearm", slice(25, 35)), ("hand", slice(35, 40))):
                frame[rows, columns] = 1 + PARTS.index(f"{side} {name}")
    return COLOURS[maps], maps


def _shares(maps, real):
    tracks, reference = (follow_parts(item, len(PARTS)) for item in (maps, real))
    return {
        "missing": missing(tracks, reference).mean(),
        "split": split(tracks, reference).mean(),
        "doubled": doubled(tracks, reference).mean(),
        "jumps": np.nanmean(place_jumps(tracks, HEIGHT)),
    }


# What each must show in every deformed frame; a cut forearm is missing, and an arm that is turned lies elsewhere.
NOTICED = {
    "limb cut": "missing",
    "hand lost": "missing",
    "limb doubled": "doubled",
    "limb bent": "jumps",
    "limbs swapped": "jumps",
}


@pytest.mark.parametrize("name", DEFORMATIONS)
def test_the_measure_of_a_deformation_rises_with_its_dose(name):
    frames, maps = _person()
    assert _shares(maps, maps) == {"missing": 0, "split": 0, "doubled": 0, "jumps": 0}
    values = []
    for dose in (0.0, 0.25, 0.5):
        shown, parts = deform(frames, maps, DEFORMATIONS[name], dose, seed=3)
        changed = (parts != maps).any(axis=(1, 2))
        assert changed.sum() == round(dose * (FRAMES - 1)) and not changed[0]
        # What is drawn has the colour of its part everywhere but where the backdrop was filled in.
        np.testing.assert_array_equal(shown[parts > 0], COLOURS[parts[parts > 0]])
        values.append(_shares(parts, maps)[NOTICED[name]])
    assert values[0] == 0 and values[0] < values[1] < values[2]
    if NOTICED[name] != "jumps":
        np.testing.assert_allclose(values, np.array([0, 2, 4]) / FRAMES)


def test_frames_of_a_smaller_dose_are_deformed_at_a_larger_one():
    frames, maps = _person()
    low, high = (deform(frames, maps, DEFORMATIONS["hand lost"], dose, seed=1)[1] != maps for dose in (0.4, 0.8))
    assert not (low & ~high).any()


def test_the_backdrop_is_put_in_the_place_of_what_is_cut():
    frames, maps = _person()
    wall = np.full(3, 90, np.uint8)
    frames[maps == 0] = wall
    shown, parts = deform(frames, maps, DEFORMATIONS["hand lost"], 1.0, seed=0)
    cut = (maps > 0) & (parts == 0)
    assert cut[1:].any(axis=(1, 2)).all()
    # What fills in rings a little.
    assert np.abs(shown[cut].astype(int) - wall).max() < 4


def test_a_face_is_exchanged_inside_its_box():
    frames, _ = _person()
    other = np.full_like(frames, 7)
    other[:, 30:50, 20:40] = 200
    boxes, theirs = (
        np.array([[19 + f, 4, 29 + f, 14] for f in range(FRAMES)], float),
        np.array([[20, 30, 40, 50]] * FRAMES, float),
    )
    exchanged = exchange_face(frames, boxes, other, theirs, 0.5, seed=2)
    changed = (exchanged != frames).any(axis=-1)
    assert changed.any(axis=(1, 2)).sum() == (FRAMES - 1) // 2 and not changed[0].any()
    for frame in np.flatnonzero(changed.any(axis=(1, 2))):
        rows, columns = np.nonzero(changed[frame])
        assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 14, 19 + frame, 29 + frame)
        # An ellipse of the box, which holds the other face, with an edge that is between the two.
        assert abs(len(rows) - np.pi / 4 * 100) < 8 and (exchanged[frame, 9, 22 + frame : 27 + frame] == 200).all()
