import dataclasses

import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.media.decoding import scan_video
from sr_jax.media.video import crop_grid
from sr_jax.preparation.framing import Window
from sr_jax.preparation.inputs import find_videos
from sr_jax.preparation.reading import ClipReader
from sr_jax.teachers.registry import load_feature_teacher
from tests.preparation import fakes

SHAPE = (2, 3, 4)


def teacher(**entries):
    return load_feature_teacher("clip", {"name": "precomputed", "shape": SHAPE} | entries)


def write(path, entries, shape=SHAPE, dtype=np.float16, **arrays):
    tokens = np.random.default_rng(1).standard_normal((entries, *shape)).astype(dtype)
    np.savez(path.with_suffix(".clip.npz"), **({"tokens": tokens} | arrays))
    return tokens


def made(folder, teachers, planned=None):
    plans = planned or [
        clip for file in find_videos(folder, teachers=teachers) for clip in _plan(folder, file, teachers)
    ]
    clips = list(ClipReader(teachers).clips(plans))
    records = fakes.records(fakes.extractor(teachers=teachers), clips)
    return plans, [record["clip_tokens"] for record in records]


def _plan(folder, file, teachers):
    return fakes.planner(folder, teachers=teachers)(file).clips


@pytest.mark.parametrize("frames", ["last", "mean"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_tokens_of_frames_are_cut_and_resampled_as_the_video_is(tmp_path, frames, dtype):
    # Clips of 5 frames at 8 frames a second, of a video of 16.
    fakes.write_source(tmp_path / "a.mp4", frames=20, fps=16.0)
    tokens = write(tmp_path / "a.mp4", 20, dtype=dtype)
    teachers = fakes.depth() | {"clip": teacher(frames=frames)}
    plans, found = made(tmp_path, teachers)
    assert [plan.clip_id for plan in plans] == ["a-00000", "a-00010"]
    for start, got in zip((0, 10), found, strict=True):
        of_clip = tokens[start : start + 10 : 2].astype(np.float32)
        later = of_clip[-1] if frames == "last" else of_clip[1:].mean(axis=0)
        np.testing.assert_allclose(got, np.stack([of_clip[0], later]), rtol=1e-3, atol=1e-3)
        assert got.dtype == np.float16


def test_tokens_of_latent_frames_cover_the_frames_behind_the_first(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", frames=13)
    tokens = write(tmp_path / "a.mp4", 4)
    reader = teacher(entry_frames=4)
    entries = list(reader.beside(tmp_path / "a.mp4"))
    for frame, entry in enumerate(entries):
        np.testing.assert_array_equal(entry, tokens[-(-frame // 4)])
    assert len(entries) == 13
    reader.check(tmp_path / "a.mp4", scan_video(tmp_path / "a.mp4"))
    _, found = made(tmp_path, fakes.depth() | {"clip": reader})
    np.testing.assert_array_equal(found[0], tokens[:2])


def test_a_clip_of_a_part_of_the_frame_has_the_tokens_of_that_part(tmp_path):
    fakes.write_source(tmp_path / "a.mp4", size=(32, 36))
    tokens = write(tmp_path / "a.mp4", 5)
    teachers = fakes.depth() | {"clip": teacher()}
    (file,) = find_videos(tmp_path, teachers=teachers)
    (plan,) = _plan(tmp_path, file, teachers)
    window = Window(0, 12, 32, 24)
    _, (found,) = made(tmp_path, teachers, [dataclasses.replace(plan, window=window)])
    np.testing.assert_allclose(found[0], crop_grid(tokens[0], (32, 36), window), atol=1e-3)


@pytest.mark.parametrize("cells", [(1, 1), (4, 6), (7, 7)])
def test_grids_are_cropped_along_straight_lines(cells):
    # A plane has in the middle of every new cell the value that it has there in the old grid, up to its border.
    rows, columns = ((np.arange(count) + 0.5) / count for count in cells)
    plane = np.stack([np.add.outer(3 * rows, 5 * columns), np.add.outer(rows, -columns)], axis=-1).astype(np.float32)
    window, (height, width) = (10, 6, 20, 33), (48, 60)
    np.testing.assert_array_equal(crop_grid(plane, (height, width), (0, 0, height, width)), plane)
    got = crop_grid(plane, (height, width), window)
    places = [
        np.clip((start + (np.arange(count) + 0.5) * length / count) / side, 0.5 / count, 1 - 0.5 / count)
        for start, length, side, count in zip(window[:2], window[2:], (height, width), cells)
    ]
    np.testing.assert_allclose(got[..., 0], np.add.outer(3 * places[0], 5 * places[1]), atol=1e-5)
    np.testing.assert_allclose(got[..., 1], np.add.outer(places[0], -places[1]), atol=1e-5)


def test_what_it_depends_on_is_written_down(tmp_path):
    settings = {"shape": "2x3x4", "entry_frames": "4", "frames": "last"}
    assert teacher(entry_frames=4).provenance("clip") == {
        "clip": {"name": "precomputed", "weight_hash": "none"} | settings
    }
    with pytest.raises(UserError, match="precomputed reads 'shape'"):
        load_feature_teacher("clip", {"name": "precomputed"})


@pytest.mark.parametrize(
    ("entries", "arrays", "message"),
    [
        (4, {}, r"a\.clip\.npz has tokens of 4 entries, but a\.mp4 has 5 frames: it must have 5"),
        (5, {"tokens": np.zeros((5, 3, 2, 4))}, r"holds tokens \(5, 3, 2, 4\) of float64: .* \[entries, 2, 3, 4\]"),
        (5, {"tokens": np.zeros((5, *SHAPE), np.int32)}, "of int32: they must be floats"),
        (5, {"tokens": np.zeros(SHAPE)}, r"holds tokens \(2, 3, 4\)"),
        (5, {"tokens": np.full((5, *SHAPE), np.nan)}, r"entry 0 of .*a\.clip\.npz holds values that float16 cannot"),
        (5, {"tokens": np.full((5, *SHAPE), 7e4)}, "entry 0 of .* holds values that float16 cannot"),
        (5, {"tokens": np.array([object()])}, r"cannot read .*a\.clip\.npz: it must be an \.npz file"),
    ],
)
def test_bad_tokens_are_one_clear_error(tmp_path, entries, arrays, message):
    path = tmp_path / "a.mp4"
    fakes.write_source(path)
    write(path, entries, **arrays)
    with pytest.raises(UserError, match=message) as error:
        teacher().check(path, scan_video(path))
    assert "\n" not in str(error.value)


def test_missing_and_damaged_files_are_one_clear_error(tmp_path):
    path = tmp_path / "a.mp4"
    fakes.write_source(path)
    with pytest.raises(
        UserError, match=r"no tokens .*a\.clip\.npz: put them beside the video, or leave features\.clip"
    ):
        teacher().check(path, scan_video(path))
    (tmp_path / "a.clip.npz").write_bytes(b"?")
    with pytest.raises(UserError, match=r"cannot read .*a\.clip\.npz"):
        teacher().check(path, scan_video(path))
    np.savez(tmp_path / "a.clip.npz", features=np.zeros((5, *SHAPE)))
    with pytest.raises(UserError, match=r"cannot read .*a\.clip\.npz: .* with the plain array 'tokens'"):
        teacher().check(path, scan_video(path))
