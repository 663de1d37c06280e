"""Shots that are too short for a clip, and give shorter ones."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_jax.data import builder
from sr_jax.errors import UserError
from sr_jax.preparation.framing import ClipOptions, Kind, Size, cut_shot
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.planning import VideoPlan
from tests.preparation import fakes

_SIZE = Size(16, 12)
_PLANNING = {"num_frames": 9, "stride": 9, "more_frames": (5,), "strict": False}


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(1, 120),
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=4, unique=True),
    stride=st.integers(1, 50),
    times_faster=st.integers(1, 4),
)
def test_a_shot_gives_clips_of_the_most_frames_that_it_holds(length, counts, stride, times_faster):
    counts.sort()
    options = ClipOptions(counts[-1], 8.0, stride, (_SIZE,), more_frames=tuple(counts[:-1]))
    cut = cut_shot(np.arange(length) / (8 * times_faster), options)
    # Frames at the clips' rate: every so many of the shot's.
    shown = range(0, length, times_faster)
    held = [count for count in counts if count <= len(shown)]
    expected, first = [], 0
    while held and first + held[-1] <= len(shown):
        expected.append(list(shown[first : first + held[-1]]))
        first += max(1, stride * held[-1] // counts[-1])
    assert [indices.tolist() for indices in cut] == expected


def test_lengths_that_no_clip_can_have(videos, tmp_path):
    for count in (9, 12, 1):
        message = rf"clip\.more_frames has {count}: further clips have at least 2 frames, and fewer than .*num_frames=9"
        with pytest.raises(UserError, match=message):
            ClipOptions(9, 8.0, 9, (_SIZE,), more_frames=(5, count))
    with pytest.raises(UserError, match="a clip of 6 frames does not fit the codec: use 5 or 9"):
        fakes.preparation(videos, tmp_path / "data", planning=_PLANNING | {"more_frames": (6,)})


def test_kinds_of_clips():
    wide = Size(12, 16)
    options = ClipOptions(49, 8.0, 49, (_SIZE, wide), still_images=True, more_frames=(13, 25))
    names = ["16x12", "12x16", "25x16x12", "25x12x16", "13x16x12", "13x12x16", "1x16x12", "1x12x16"]
    assert list(map(str, options.kinds)) == names
    assert ClipOptions(49, 8.0, 49, (_SIZE,)).kinds == [Kind(_SIZE)]


@pytest.fixture
def videos(tmp_path):
    """Two clips of 9 frames, two shorter ones, and a video that is shorter than all."""
    for name, frames in {"whole": 18, "short": 8, "shortest": 5, "nothing": 4}.items():
        fakes.write_source(tmp_path / "in" / f"{name}.mp4", frames=frames)
    return tmp_path / "in"


def test_shorter_clips_are_a_dataset_beside_the_others(videos, tmp_path):
    output = tmp_path / "data"
    summary = fakes.make(videos, output, planning=_PLANNING)
    assert summary.lines()[0] == "kept: 4 clips of 3 videos (train 4)"
    (rejected,) = map(json.loads, (output / "rejected.jsonl").read_text().splitlines())
    assert rejected["reason"].endswith("too short: 4 frames at 8 frames a second, but one clip is 5 frames at 8")
    assert [folder.name for folder in builder.dataset_folders(output)] == ["16x12", "5x16x12"]
    made = builder.read_provenance(output)
    assert (made.clip["num_frames"], made.clip["sizes"], made.sizes) == (9, ["16x12", "5x16x12"], [(16, 12)])
    short = builder.read_provenance(output / "5x16x12")
    assert short.clip["num_frames"] == 5 and short.differences(made) == []
    found = {
        folder: {record["clip_id"].decode(): record["latent_mean"].shape for record in records}
        for folder, records in builder.open_sizes(output, "train").items()
    }
    assert found == {
        output / "16x12": {"whole-00000": (3, 4, 3, 3), "whole-00009": (3, 4, 3, 3)},
        output / "5x16x12": {"short-00000": (2, 4, 3, 3), "shortest-00000": (2, 4, 3, 3)},
    }
    assert "5 frames at 8 a second, 16 x 12 pixels" in (output / "preview.html").read_text()
    # What comes later is added to either; nothing else would fit.
    fakes.write_source(videos / "later.mp4", frames=7, seed=1)
    fakes.make(videos, output, planning=_PLANNING)
    assert builder.count_clips(output, "train") == [2, 3]
    with pytest.raises(UserError, match=r"clip\.more_frames: dataset has \[5\], expected \[\]"):
        fakes.make(videos, output, planning=_PLANNING | {"more_frames": ()})


def test_plans_are_read_back(videos):
    planner = fakes.planner(videos, **_PLANNING)
    for file in find_videos(videos):
        plan = planner(file)
        back = VideoPlan.from_json(json.loads(json.dumps(plan.to_json())), file)
        assert [(clip.kind, clip.indices.tolist()) for clip in back.clips] == [
            (clip.kind, clip.indices.tolist()) for clip in plan.clips
        ]
        assert {str(clip.kind) for clip in plan.clips} <= {"16x12" if file.name == "whole" else "5x16x12"}
