"""Shots, people and motion in drawn videos."""

import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.media.decoding import scan_video
from sr_jax.media.shots import ShotFinder, ShotOptions
from sr_jax.preparation import people
from sr_jax.preparation.framing import DropOptions, Size, Window
from sr_jax.preparation.people import PersonOptions, Watcher, load_finder
from sr_jax.teachers.base import Face
from tests.preparation import fakes


class WhiteFaces:
    """Finds a face where there are white pixels, one in each half of the frame."""

    name, weight_hash = "white", "w0"

    def __call__(self, frames):
        return [[face for left in (0, 1) for face in self._half(frame, left)] for frame in frames]

    def _half(self, frame, right):
        middle = frame.shape[1] // 2
        white = (frame > 225).all(axis=-1)
        white[:, : middle if right else 0] = False
        white[:, frame.shape[1] if right else middle :] = False
        rows, columns = np.nonzero(white)
        if len(rows) < 4:
            return []
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return [Face(np.array(box, np.float32), 1.0)]


def _write(folder, name, frames, fps=24.0):
    video.write_video(folder / f"{name}.mp4", frames, fps)
    (folder / f"{name}.txt").write_text("a person")


@pytest.mark.parametrize("options", [ShotOptions("adaptive"), ShotOptions("content"), ShotOptions("content", 27.0)])
def test_cuts_are_found(tmp_path, options):
    scenes = [fakes.scene(seed, length, speed=2.0) for seed, length in ((1, 30), (2, 45), (3, 25))]
    _write(tmp_path, "a", np.concatenate(scenes))
    finder = ShotFinder(options)
    info = scan_video(tmp_path / "a.mp4", [finder])
    assert finder.shots(info.times) == [(0, 30), (30, 75), (75, 100)]
    # More is asked for than the first shot and the last have: 1.25 and 1.04 seconds.
    longer = ShotFinder(ShotOptions(options.name, options.threshold, least_seconds=1.5))
    assert longer.shots(scan_video(tmp_path / "a.mp4", [longer]).times) == [(30, 75)]
    none = ShotFinder(ShotOptions())
    assert none.shots(scan_video(tmp_path / "a.mp4", [none]).times) == [(0, 100)]
    with pytest.raises(UserError, match=r"shots\.name is 'guess'"):
        ShotOptions("guess")
    with pytest.raises(UserError, match=r"shots\.threshold is -1"):
        ShotOptions("content", -1.0)


def test_a_flash_is_in_no_clip(tmp_path):
    scenes = [fakes.scene(seed, length, speed=2.0) for seed, length in ((1, 60), (2, 6), (3, 60))]
    _write(tmp_path, "a", np.concatenate(scenes), fps=30.0)
    finder = ShotFinder(ShotOptions("content", least_seconds=0.5))
    info = scan_video(tmp_path / "a.mp4", [finder])
    assert finder.shots(info.times) == [(0, 60), (66, 126)]
    # Six frames last for a fifth of a second.
    finder = ShotFinder(ShotOptions("content", least_seconds=0.2 - 1e-3))
    info = scan_video(tmp_path / "a.mp4", [finder])
    assert finder.shots(info.times) == [(0, 60), (60, 66), (66, 126)]


def test_a_gap_in_the_times_ends_a_shot():
    finder = ShotFinder(ShotOptions())
    seconds = np.arange(40) / 24
    jump = seconds + 1e10 * (np.arange(40) >= 15)
    assert finder.shots(jump) == [(0, 15), (15, 40)]
    # After the first gap one frame is alone.
    twice = jump + 1e10 * (np.arange(40) >= 16)
    assert finder.shots(twice) == [(0, 15), (16, 40)]
    # A short video is a shot, and so is a slow one.
    assert finder.shots(seconds[:3]) == [(0, 3)]
    assert finder.shots(seconds[:1]) == [(0, 1)]
    assert finder.shots(np.arange(9) * 1.001) == [(0, 9)]


def test_clips_stay_inside_shots(tmp_path):
    # At 8 frames a second a clip of 5 frames takes 13 of these: two in each of the first shots, none in the last.
    _write(tmp_path, "a", np.concatenate([fakes.scene(1, 30), fakes.scene(2, 45), fakes.scene(3, 12)]))
    shots, teachers = ShotOptions("content", 27.0), fakes.depth(fakes.BrightnessDepth())
    plans = fakes.plan(tmp_path, shots=shots, teachers=teachers)
    assert [plan.indices.tolist() for plan in plans] == [
        [first, first + 3, first + 6, first + 9, first + 12] for first in (0, 15, 30, 45, 60)
    ]
    assert [plan.clip_id for plan in plans] == [f"a-{first:05d}" for first in (0, 15, 30, 45, 60)]
    overlapping = fakes.plan(tmp_path, shots=shots, teachers=teachers, stride=2)
    assert [plan.indices[0] for plan in overlapping] == [0, 6, 12, 30, 36, 42, 48, 54, 60]


class OneBox:
    """Finds people, however many, in one box."""

    tells_apart = False

    def __call__(self, frames):
        return [np.zeros((0, 4), np.float32) for _ in frames]


def test_clips_are_framed_dropped_and_counted(tmp_path):
    scenes = {
        "a_one": fakes.scene(1, 15, faces=[(20, 70)], speed=3.0),
        "b_nobody": fakes.scene(2, 15, speed=3.0),
        "c_two": fakes.scene(3, 15, faces=[(20, 10), (20, 70)], speed=3.0),
        "d_still": fakes.scene(4, 15, faces=[(20, 10)]),
    }
    for name, frames in scenes.items():
        _write(tmp_path, name, frames)
    person = PersonOptions("face", zoom=2.0, anchor=0.5, looks_per_second=8.0)
    options = {
        "person": person,
        "finder": load_finder(person, WhiteFaces()),
        "teachers": fakes.depth(fakes.BrightnessDepth()),
        "sizes": (Size(16, 12),),
    }
    drop = DropOptions(no_person=True, several_people=True, least_motion=0.02)
    planner = fakes.planner(tmp_path, drop=drop, **options)
    plans = [planner(file) for file in fakes.find_videos(tmp_path)]
    assert [plan.outcome.dropped for plan in plans] == [
        {},
        {"no person": 1},
        {"several people": 1},
        {"too little motion": 1},
    ]
    # Twice the face's height of 16, around the middle of the face (28, 78), in the aspect ratio of the clip.
    (clip,) = plans[0].clips
    assert abs(np.array(clip.window) - (12, 66, 32, 24)).max() <= 1
    kept = fakes.plan(tmp_path, **options)
    assert [plan.clip_id[0] for plan in kept] == ["a", "b", "c", "d"]
    assert kept[1].window == Window(0, 24, 64, 48)
    with pytest.raises(UserError, match=r"drop\.no_person needs person\.name"):
        fakes.planner(tmp_path, drop=DropOptions(no_person=True))
    for name, finder in (("mask", OneBox()), ("none", None)):
        with pytest.raises(UserError, match=rf"needs person\.name=face: {name} does not tell people apart"):
            fakes.planner(tmp_path, person=PersonOptions(name), finder=finder, drop=DropOptions(several_people=True))


def test_plans_are_read_back(tmp_path):
    _write(tmp_path, "a", fakes.scene(1, 30))
    (tmp_path / "a.json").write_text('{"who": 1}')
    (file,) = fakes.find_videos(tmp_path)
    planner = fakes.planner(tmp_path, teachers=fakes.depth(fakes.BrightnessDepth()))
    plan = planner(file)
    back = type(plan).from_json(plan.to_json(), file)
    assert back.outcome == plan.outcome
    for one, other in zip(plan.clips, back.clips, strict=True):
        assert (one.clip_id, one.source, one.size, one.window) == (
            other.clip_id,
            other.source,
            other.size,
            other.window,
        )
        np.testing.assert_array_equal(one.indices, other.indices)


def test_bystanders_do_not_count(tmp_path):
    frames = np.zeros((1, 40, 40, 3), np.uint8)

    class Three(WhiteFaces):
        def __call__(self, frames):
            boxes = [[0, 0, 5, 7], [10, 10, 30, 30], [0, 30, 5, 38]]
            return [[Face(np.array(box, np.float32), 1.0) for box in boxes]] * len(frames)

    (boxes,) = load_finder(PersonOptions("face"), Three())(frames)
    assert boxes.tolist() == [[10, 10, 30, 30], [0, 30, 5, 38]]


def test_what_finds_people_is_known_by_its_name():
    assert load_finder(PersonOptions("none"), WhiteFaces()) is None
    with pytest.raises(UserError, match=r"no person finder is called 'nose': choose one of face, none, or name one of"):
        load_finder(PersonOptions("nose"), WhiteFaces())


def test_motion_is_measured_in_heights_a_second(tmp_path):
    # A texture that moves 2 of 96 pixels a frame, 25 frames a second.
    rng = np.random.default_rng(0)
    texture = np.repeat(np.repeat(rng.integers(0, 256, (24, 60)), 4, axis=0), 4, axis=1).astype(np.uint8)
    frames = np.stack([texture[:96, 2 * n : 2 * n + 120] for n in range(26)])
    _write(tmp_path, "a", np.repeat(frames[..., None], 3, axis=-1), fps=25.0)
    watcher = Watcher(None, looks_per_second=25.0)
    scan_video(tmp_path / "a.mp4", [watcher])
    looks = watcher.looks()
    assert [look.frame for look in looks] == list(range(26))
    assert np.isnan(looks[0].motion)
    assert people.motion_between(looks) == pytest.approx(2 / 96 * 25, rel=0.25)
    seldom = Watcher(None, looks_per_second=5.0)
    scan_video(tmp_path / "a.mp4", [seldom])
    assert [look.frame for look in seldom.looks()] == [0, 5, 10, 15, 20, 25]
