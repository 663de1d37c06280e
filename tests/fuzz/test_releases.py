import pytest
from hypothesis import settings

from tests.fuzz.releases import PROPERTIES


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__)
def test_a_property_holds(holds):
    settings(max_examples=60, deadline=None, derandomize=True, database=None)(holds)()
