"""What docs/sampling.md says of long clips is what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks import long_clips
from benchmarks.pages import published

_ROOT = Path(long_clips.__file__).parents[1]


@pytest.fixture(scope="module")
def found():
    return json.loads((_ROOT / "benchmarks/results/long_clips.json").read_text())


def test_the_page_has_the_table(found):
    assert published((_ROOT / "docs/sampling.md").read_text(), "long_clips") == long_clips.table(found)


def test_no_seam_is_larger_than_what_one_window_has_inside(found):
    for name, kind in found.items():
        if kind["seams"]:
            assert kind["seams_measured"] == kind["seams"] * len(kind["clips"]), name
            assert kind["seams_above_the_largest_of_a_window"] == 0, name


@pytest.mark.parametrize(
    ("way", "total", "borders"),
    # 13 frames are four latent frames: one of the first frame, and three of four frames each.
    [
        # Windows begin at latent frames 2, 4, 6 and 8, and end before 4, 6, 8 and 10.
        ("windows", 45, [5, 13, 21, 29, 37]),
        ("continuation", 45, [13, 25, 37]),
    ],
)
def test_seams_are_where_windows_begin_or_end(way, total, borders):
    assert list(long_clips._borders(way, total, 13, 4, 0.5, 4)) == borders
