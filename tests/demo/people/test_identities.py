import numpy as np
import pytest

from sr_jax.demo.people.identities import IDENTITIES_PER_SPLIT, identity_number, identity_split, make_person
from sr_jax.demo.people.kinds import SPLITS
from sr_jax.demo.people.looks import linear_rgb


def test_ranges_of_the_splits_are_disjoint():
    ranges = [
        range(identity_number(split, 0), identity_number(split, IDENTITIES_PER_SPLIT - 1) + 1) for split in SPLITS
    ]
    assert all(len(numbers) == IDENTITIES_PER_SPLIT for numbers in ranges)
    assert ranges[0][-1] < ranges[1][0]
    for split, numbers in zip(SPLITS, ranges):
        assert identity_split(numbers[0]) == identity_split(numbers[-1]) == split


@pytest.mark.parametrize("split, index", [("val", 0), ("train", -1), ("train", IDENTITIES_PER_SPLIT)])
def test_bad_identity_is_refused(split, index):
    with pytest.raises(ValueError, match="no identity"):
        identity_number(split, index)


@pytest.mark.parametrize("identity", [-1, IDENTITIES_PER_SPLIT * len(SPLITS)])
def test_identity_outside_all_splits_is_refused(identity):
    with pytest.raises(ValueError, match="no split"):
        identity_split(identity)


def _leaves(person):
    return np.concatenate(
        [np.ravel(np.asarray(value, float)) for value in person if not isinstance(value, (str, bool))]
    )


def test_a_number_is_one_person():
    np.testing.assert_array_equal(_leaves(make_person(7)), _leaves(make_person(7)))
    assert not np.allclose(_leaves(make_person(7))[1:], _leaves(make_person(8))[1:])


def test_people_are_varied_and_lawful():
    people = [make_person(number) for number in range(300)]
    assert {person.kind for person in people} == {"man", "woman"}
    assert len({person.hair_name for person in people}) >= 14
    assert len({person.hair_style for person in people}) == 9
    assert len({person.beard_name for person in people if person.kind == "man"}) == 5
    assert all(person.beard_name == "none" for person in people if person.kind == "woman")
    for person in people:
        for colour in (person.skin, person.hair, person.brow, person.beard, person.lips, person.iris):
            assert colour.shape == (3,) and (colour >= 0).all() and (colour <= 1).all()
    assert np.std([person.skin.mean() for person in people]) > 0.1


def test_linear_rgb_inverts_the_srgb_curve():
    linear = np.array([0.0, 0.001, 0.01, 0.2, 1.0])
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(linear_rgb(encoded), linear, atol=1e-6)
