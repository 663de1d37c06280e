"""Videos that are put into a folder later: only they are prepared, and what is there stays as it is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_jax.data import builder
from sr_jax.data.clips import read_index
from sr_jax.data.faces import FaceCount
from sr_jax.errors import UserError
from sr_jax.preparation import dataset, merging, work
from sr_jax.preparation.adding import check_done, next_part
from sr_jax.preparation.dataset import make_shard
from sr_jax.preparation.framing import Size
from sr_jax.preparation.merging import merge
from sr_jax.preparation.work import Shard
from tests.preparation import fakes

_ROOT = Path(__file__).parents[2]
_NEW = {"train/v15": 15, "train/v9": 9, "test/v7": 107}


def _write(folder, names):
    for name, seed in names.items():
        fakes.write_source(folder / f"{name}.mp4", seed=seed, frames=10 if name.endswith("9") else 5)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """An input and its dataset."""
    folder = tmp_path_factory.mktemp("first")
    fakes.write_input(folder / "videos")
    fakes.make(folder / "videos", folder / "data")
    return folder


@pytest.fixture(scope="module")
def whole(first, tmp_path_factory):
    """The dataset of the input with the new videos, made at once; and all its records."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(first / "videos", folder / "videos")
    _write(folder / "videos", _NEW)
    fakes.make(folder / "videos", folder / "data")
    return folder, {split: _records(folder / "data", split) for split in ("train", "test")}


@pytest.fixture
def grown(first, tmp_path):
    """A copy of the input with the new videos, and of the dataset without."""
    shutil.copytree(first, tmp_path / "grown")
    _write(tmp_path / "grown" / "videos", _NEW)
    return tmp_path / "grown" / "videos", tmp_path / "grown" / "data"


def _records(output, split):
    return {record["clip_id"].decode(): record for record in builder.open_dataset(output, split)}


def _state(folder):
    """What would show that a file was written again."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def _assert_same_records(output, expected):
    for split, records in expected.items():
        found = _records(output, split)
        assert found.keys() == records.keys()
        for clip_id, record in found.items():
            for name, value in record.items():
                if getattr(value, "dtype", None) == np.float16:
                    # The last bits of a feature may depend on the rest of its batch.
                    np.testing.assert_allclose(value, records[clip_id][name], atol=1e-3)
                else:
                    assert value == records[clip_id][name]


def test_only_new_videos_are_prepared(first, grown, whole):
    videos, output = grown
    records, clips = _state(output / "clip_records"), _state(output / "clips")
    planned = []
    summary = fakes.make(videos, output, progress=lambda videos, clips: planned.append((videos, clips)))
    assert np.sum(planned, axis=0).tolist() == [3, 4]
    assert summary.clips == {"train": 11, "test": 3} and summary.videos == 12
    # Nothing that was there was written again, but for the lists.
    assert _state(output / "clip_records") == records
    after = _state(output / "clips")
    assert {path: after[path] for path in clips if path.suffix != ".jsonl"} == {
        path: state for path, state in clips.items() if path.suffix != ".jsonl"
    }
    _assert_same_records(output, whole[1])
    # Behind those that were there.
    before = list(_records(first / "data", "train"))
    assert list(_records(output, "train"))[: len(before)] == before
    assert read_index(output / "clips" / "train").keys() == whole[1]["train"].keys()
    assert builder.count_clips(output, "train") == [11]
    assert builder.read_faces(output) == builder.read_faces(whole[0] / "data")
    outcomes = [json.loads(line)["name"] for line in (output / "videos.jsonl").read_text().splitlines()]
    assert outcomes[-3:] == ["v15", "v9", "v7"] and len(outcomes) == 12
    assert (output / "preview.html").read_bytes() == (first / "data" / "preview.html").read_bytes()
    assert "v15" in (output / "preview_001.html").read_text()
    assert not (output / "work").exists()
    # And again, nothing.
    everything = _state(output)
    assert fakes.make(videos, output).lines() == summary.lines()
    assert _state(output) == everything


def test_adding_twice_by_shards(grown, whole):
    videos, output = grown
    later = {path: path.read_bytes() for path in videos.rglob("v9.*")}
    for path in later:
        path.unlink()
    fakes.make(videos, output, shards=2)
    for path, data in later.items():
        path.write_bytes(data)
    summary = fakes.make(videos, output, shards=3)
    assert [path.name for path in sorted((output / "added").iterdir())] == ["001", "002"]
    _assert_same_records(output, whole[1])
    assert summary.lines() == fakes.make(whole[0] / "videos", whole[0] / "data").lines()


_KILLED = """
import os, signal, sys
from pathlib import Path
from sr_jax.preparation import merging
from tests.preparation import fakes

description, calls = merging._description, []
def die(clip):
    calls.append(clip)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return description(clip)

merging._description = die
fakes.make(Path(sys.argv[1]), Path(sys.argv[2]))
"""


class _KilledError(BaseException):
    """Nothing catches it."""


def _die_at(monkeypatch, module, name, number):
    """Lets the call of a function with this number end the process, or so it looks."""
    function, calls = getattr(module, name), []

    def wrapped(*args, **options):
        calls.append(args)
        if len(calls) == number:
            raise _KilledError
        return function(*args, **options)

    monkeypatch.setattr(module, name, wrapped)


def _kill(videos, output):
    command = [sys.executable, "-c", _KILLED, str(videos), str(output)]
    result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == -9, result.stderr


def test_killed_at_any_moment_the_old_dataset_is_usable_and_the_new_one_comes(grown, whole, first, monkeypatch):
    videos, output = grown
    old = {split: _records(first / "data", split) for split in ("train", "test")}

    def check():
        for split, records in old.items():
            found = _records(output, split)
            assert found.keys() >= records.keys()
            for clip_id, record in records.items():
                np.testing.assert_array_equal(found[clip_id]["latent_mean"], record["latent_mean"])
            assert set(read_index(output / "clips" / split)) >= records.keys()

    # Features, the list of what was rejected, (here: records), the list of videos, the preview, the manifest, the end.
    places = [
        (dataset, "write_features", 2),
        (merging, "_write_lines", 2),
        (merging, "_write_lines", 4),
        (merging, "build_preview", 1),
        (merging, "remove_leftovers", 1),
        (work.WorkFolder, "remove", 1),
        (work.shutil, "rmtree", 1),
    ]
    for number, place in enumerate(places):
        if number == 2:
            _kill(videos, output)
            check()
        with monkeypatch.context() as patched:
            _die_at(patched, *place)
            with pytest.raises(_KilledError):
                fakes.make(videos, output)
        check()
    fakes.make(videos, output)
    _assert_same_records(output, whole[1])
    assert len((output / "videos.jsonl").read_text().splitlines()) == 12
    assert not [path for path in output.iterdir() if path.name.startswith((".", "work"))]


def test_what_was_begun_is_finished_before_more_is_added(tmp_path, whole):
    videos, output = tmp_path / "videos", tmp_path / "data"
    shutil.copytree(whole[0] / "videos", videos)
    later = {path: path.read_bytes() for name in ("v15", "v9", "v7") for path in videos.rglob(f"{name}.*")}
    for path in later:
        path.unlink()
    # The first of two shards is made, then videos come.
    make_shard(next_part(fakes.preparation(videos, output)), Shard(0, 2), fakes.nothing)
    for path, data in later.items():
        path.write_bytes(data)
    part = next_part(fakes.preparation(videos, output))
    assert len(part.files) == 9 and part.addition == 0
    fakes.make(videos, output)
    assert [path.name for path in (output / "added").iterdir()] == ["001"]
    _assert_same_records(output, whole[1])


def test_new_videos_that_cannot_be_used_add_nothing(grown):
    videos, output = grown
    for name in _NEW:
        (videos / f"{name}.mp4").write_bytes(b"no video")
    summary = fakes.make(videos, output, planning={"strict": False})
    assert summary.clips.total() == 10 and summary.rejected == {"cannot read the video": 3}
    assert not (output / "added").exists()
    assert len((output / "rejected.jsonl").read_text().splitlines()) == 3
    # What could not be used may be put away, and what is there still be added to.
    (videos / "train" / "v15.mp4").unlink()
    fakes.write_source(videos / "train" / "v16.mp4", seed=16)
    (videos / "train" / "v15.json").unlink()
    for path in videos.rglob("v15.*"):
        path.unlink()
    assert fakes.make(videos, output, planning={"strict": False}).clips.total() == 11
    # A part without clips has a number too.
    assert [path.name for path in (output / "added").iterdir()] == ["002"]


def test_videos_that_are_gone_or_changed_are_refused_and_nothing_is_added(grown):
    videos, output = grown
    before = _state(output)
    (videos / "train" / "v3.txt").write_text("somebody else")
    with pytest.raises(UserError, match="train/v3: its video, depth, labels or caption changed"):
        fakes.make(videos, output)
    for path in videos.rglob("v3.*"):
        path.unlink()
    with pytest.raises(UserError, match="train/v3: in the dataset, not in the input"):
        fakes.make(videos, output)
    with pytest.raises(UserError, match=r"clip\.seed: dataset has 0, expected 3"):
        fakes.make(videos, output, seed=3)
    assert _state(output) == before


def test_an_addition_of_files_that_are_gone_can_be_removed_alone(grown):
    videos, output = grown
    make_shard(next_part(fakes.preparation(videos, output)), Shard(0, 1), fakes.nothing)
    for path in videos.rglob("v9.*"):
        path.unlink()
    made = fakes.preparation(videos, output)
    check_done(made)
    with pytest.raises(UserError, match=r"data/work was begun with other input .*train/v9: in the dataset, not in"):
        merge(next_part(made))
    shutil.rmtree(output / "work")
    assert fakes.make(videos, output).clips.total() == 12


@pytest.mark.parametrize("name", ["manifest.json", "videos.jsonl"])
def test_a_damaged_list_is_one_line(grown, name):
    videos, output = grown
    (output / name).write_text("")
    with pytest.raises(UserError, match=f"{name} is damaged"):
        fakes.make(videos, output)


def test_a_size_that_comes_later_is_a_dataset_of_its_own(tmp_path):
    videos, output = tmp_path / "videos", tmp_path / "data"
    planning = {"sizes": (Size(16, 12), Size(12, 16))}
    _write(videos, {"a": 1})
    fakes.make(videos, output, planning=planning)
    fakes.write_source(videos / "wide.mp4", size=(12, 16), seed=2)
    _write(videos, {"b": 3})
    summary = fakes.make(videos, output, planning=planning)
    assert summary.clips == {"train": 3}
    assert list(_records(output / "12x16", "train")) == ["wide-00000"]
    assert list(_records(output / "16x12", "train")) == ["a-00000", "b-00000"]
    assert builder.dataset_folders(output) == [output / "12x16", output / "16x12"]
    assert builder.read_spec(output / "12x16").latent_shape[1:3] == (3, 4)
    assert builder.read_provenance(output).clip["sizes"] == ["12x16", "16x12"]
    assert builder.read_faces(output) == {"train": FaceCount(3, 3, 6, 6)}
