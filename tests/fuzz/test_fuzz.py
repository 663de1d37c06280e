import hypothesis.strategies as st
import pytest

from tests.fuzz.base import PARTS, Property, properties, try_examples, try_for

_ALL = [(part, item) for part in PARTS for item in properties(part)]


@pytest.mark.parametrize(("part", "item"), _ALL, ids=[f"{part}: {item.name}" for part, item in _ALL])
def test_a_few_examples(part, item):
    try_examples(item, 25, seed=0)


def test_what_does_not_hold_is_found():
    def holds(number):
        assert number < 1000

    wrong = Property("numbers are small", st.integers(0, 10**6), holds)
    with pytest.raises(AssertionError):
        try_examples(wrong, 100, seed=0)
    assert try_for(Property("numbers are numbers", st.integers(), int), 0.01, at_once=5) >= 5
