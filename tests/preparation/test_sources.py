"""Clips of recordings that change in the middle, and of poor ones."""

import numpy as np
import pytest
from PIL import Image

from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.preparation.framing import DropOptions, Size, poor_source
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.people import PersonOptions, load_finder
from sr_jax.preparation.planning import Planner
from sr_jax.preparation.reading import ClipReader
from sr_jax.preparation.summary import Summary
from tests.media.files import join, textured, write
from tests.preparation import fakes
from tests.preparation.test_planning import WhiteFaces

_SIZES = (Size(24, 32), Size(32, 24))


def _planner(folder, **options) -> Planner:
    options = {"sizes": _SIZES, "teachers": fakes.depth(fakes.BrightnessDepth()), "default_prompt": "a"} | options
    return fakes.planner(folder, **options)


def _circle(height, width, count=16):
    """A white circle of 16 pixels in the middle."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) < 8
    return np.repeat(np.repeat(255 * inside[None, ..., None], count, axis=0), 3, axis=-1).astype(np.uint8)


def test_each_clip_has_the_size_of_its_part_of_the_video(tmp_path):
    parts = [write(tmp_path / f"{n}", _circle(*size), fps=8, container="mpegts") for n, size in enumerate(_SIZES)]
    (tmp_path / "in").mkdir()
    join(tmp_path / "in" / "a.ts", *parts)
    (file,) = fakes.find_videos(tmp_path / "in")
    # What finds people and motion looks at pictures of both sizes.
    finder = load_finder(PersonOptions("face"), WhiteFaces())
    watched = _planner(tmp_path / "in", finder=finder, person=PersonOptions("face"), drop=DropOptions(no_person=True))
    assert len(watched(file).clips) == 6
    clips = _planner(tmp_path / "in")(file).clips
    assert [clip.indices[0] for clip in clips] == [0, 5, 10, 16, 21, 26]
    assert [clip.size for clip in clips] == [clip.window[2:] for clip in clips] == [_SIZES[0]] * 3 + [_SIZES[1]] * 3
    for cut in ClipReader({}).clips(clips):
        bright = cut.frames[2, ..., 0] > 127
        # A circle still: nothing was squeezed.
        assert bright.any(axis=0).sum() == pytest.approx(16, abs=1) == bright.any(axis=1).sum()
    with pytest.raises(UserError, match=r"a\.ts changes its size, and depth beside it is of one size: cut it there"):
        np.savez(tmp_path / "in" / "a.depth.npz", depth=np.ones((32, 24, 32), np.float32))
        _planner(tmp_path / "in", teachers=fakes.depth())(file)


def test_joined_recordings_lose_no_clip(tmp_path):
    parts = [write(tmp_path / f"{n}", textured(15, 24, 32, seed=n), fps=8, container="mpegts") for n in range(3)]
    (tmp_path / "in").mkdir()
    join(tmp_path / "in" / "a.ts", *parts)
    (file,) = fakes.find_videos(tmp_path / "in")
    clips = _planner(tmp_path / "in")(file).clips
    assert [clip.indices.tolist() for clip in clips] == [list(range(first, first + 5)) for first in range(0, 45, 5)]


def test_poor_sources_are_dropped_and_counted(tmp_path):
    for name, size, fps in (("tiny", (2, 2), 8.0), ("slow", (24, 32), 4.0), ("good", (24, 32), 8.0)):
        video.write_video(tmp_path / f"{name}.mp4", np.zeros((12, *size, 3), np.uint8), fps)
    plan, summary = _planner(tmp_path, drop=DropOptions(least_side=24, least_fps=8.0)), Summary()
    plans = {file.name: plan(file) for file in fakes.find_videos(tmp_path)}
    summary.add(plan.outcome for plan in plans.values())
    assert {name: plan.outcome.dropped for name, plan in plans.items()} == {
        "tiny": {"too few pixels": 2},
        "slow": {"too few frames a second": 4},
        "good": {},
    }
    assert summary.lines() == [
        "kept: 2 clips of 1 video (train 2)",
        "dropped: 6 clips (too few frames a second: 4, too few pixels: 2)",
    ]


@pytest.mark.parametrize(
    "height,width,fps,least,expected",
    [
        (480, 640, 29.97, DropOptions(least_side=480, least_fps=30.0), None),
        (640, 479, 30.0, DropOptions(least_side=480), "too few pixels"),
        (480, 640, 29.0, DropOptions(least_fps=30.0), "too few frames a second"),
        (2, 2, 1.0, DropOptions(), None),
    ],
)
def test_what_is_too_poor(height, width, fps, least, expected):
    assert poor_source(height, width, np.arange(9) / fps, least) == expected
    # Of one frame no rate is known.
    assert poor_source(480, 640, np.zeros(1), DropOptions(least_fps=30.0)) is None


@pytest.mark.parametrize("name,value", [("least_side", -1), ("least_fps", -1.0), ("least_motion", -1.0)])
def test_limits_are_not_negative(name, value):
    with pytest.raises(UserError, match=rf"drop\.{name} is -1: it must be positive, or 0 to keep all clips"):
        DropOptions(**{name: value})


def _frame_folder(folder, frames) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def test_clips_of_a_folder_of_frames(tmp_path):
    frames = textured(12, 16, 16)
    _frame_folder(tmp_path / "train" / "a", frames)
    _frame_folder(tmp_path / "train" / "b.depth", frames)
    (tmp_path / "train" / "a.txt").write_text("somebody")
    np.savez(tmp_path / "train" / "a.depth.npz", depth=np.ones((12, 16, 16), np.float32))
    files = find_videos(tmp_path, frame_folders=True)
    assert [(file.name, file.problem[-20:]) for file in files] == [("a", ""), ("b", "the video is missing")]
    planner = fakes.planner(tmp_path, sizes=(Size(16, 16),), frames_fps=16.0)
    plan = planner(files[0])
    # Twice as many frames a second as a clip has.
    assert [clip.indices.tolist() for clip in plan.clips] == [[0, 2, 4, 6, 8]]
    assert plan.clips[0].source.prompt == "somebody"
    (cut,) = ClipReader(fakes.depth()).clips(plan.clips)
    np.testing.assert_array_equal(cut.frames, frames[:10:2])
    assert planner.is_unchanged(files[0], plan.outcome)
    Image.fromarray(frames[0]).save(tmp_path / "train" / "a" / "003.png")
    assert not planner.is_unchanged(files[0], plan.outcome)
    # Unless somebody says so, pictures are no videos.
    assert all(file.problem for file in find_videos(tmp_path))


@pytest.mark.parametrize("fps", [-1.0, float("nan")])
def test_the_rate_of_folders_of_frames_is_positive(tmp_path, fps):
    with pytest.raises(UserError, match=r"clip\.frames_fps is (-1|nan): it must be positive, or 0"):
        fakes.planner(tmp_path, frames_fps=fps)
