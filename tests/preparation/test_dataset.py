import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_jax.data import builder
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.preparation import merging
from sr_jax.preparation.dataset import make_shard
from sr_jax.preparation.framing import Size
from sr_jax.preparation.merging import merge
from sr_jax.preparation.work import Manifest, Shard
from tests.preparation import fakes

_ROOT = Path(__file__).parents[2]
_LISTS = ["manifest.json", "preview.html", "rejected.jsonl", "videos.jsonl"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return fakes.write_input(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "data"
    fakes.make(videos, output)
    return output


def _files(folder):
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _records(output, split):
    return {record["clip_id"].decode(): record for record in builder.open_dataset(output, split)}


def test_dataset_holds_every_clip_and_what_made_it(videos, prepared):
    records = _records(prepared, "train")
    assert sorted(records) == [f"v{n}-00000" for n in range(3)] + ["v2-00005"] + [f"v{n}-00000" for n in range(3, 7)]
    assert sorted(_records(prepared, "test")) == ["v0-00000", "v1-00000"]
    record = records["v2-00005"]
    assert (record["prompt"], record["source"]) == (b"a person", b"v2.mp4")
    assert (record["source_first_frame"], record["fps"]) == (5, 8.0)
    plan = fakes.plan(videos)[3]
    clips = list(fakes.ClipReader(fakes.depth()).clips([plan]))
    for name, array in fakes.records(fakes.extractor(), clips)[0].items():
        np.testing.assert_allclose(record[name], array, atol=1e-3)
    assert builder.read_provenance(prepared) == fakes.extractor().provenance
    np.testing.assert_allclose(builder.read_empty_prompt(prepared), fakes.LetterText()([""])[0], rtol=1e-3)
    assert sorted(path.name for path in prepared.iterdir()) == ["clip_records", "clips", *_LISTS]


def test_clips_are_kept_exactly(videos, prepared):
    folder = prepared / "clips" / "train"
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    assert [row["clip_id"] for row in rows] == [f"v{n}-00000" for n in range(3)] + ["v2-00005"] + [
        f"v{n}-00000" for n in range(3, 7)
    ]
    assert rows[3] == {
        "clip_id": "v2-00005",
        "prompt": "a person",
        "source": "v2.mp4",
        "source_first_frame": 5,
        "labels": {"identity": 2},
    }
    frames, fps = video.read_video(folder / "v2-00005.mp4")
    np.testing.assert_array_equal(frames, video.read_video(videos / "train" / "v2.mp4")[0][5:])
    assert fps == 8.0
    disparity = np.load(folder / "v2-00005.depth.npz")["disparity"]
    assert disparity.shape == (5, 16, 12)
    assert (disparity.min(), disparity.max()) == (0, 1)


def test_clips_are_not_kept_unless_wanted(videos, tmp_path):
    fakes.make(videos, tmp_path / "data", keep_clips=False)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["clip_records", *_LISTS]


def test_a_file_that_breaks_after_it_was_planned(videos, prepared, tmp_path, monkeypatch):
    read_clips = fakes.ClipReader.clips

    def read(reader, plans):
        clips = read_clips(reader, plans)
        name = plans[0].clip_id[:2] if plans and plans[0].source.split == "train" else ""
        # Of two clips, the second.
        if name == "v2":
            yield next(clips)
        if name in ("v2", "v4"):
            raise RuntimeError("the disk is gone")
        yield from clips

    monkeypatch.setattr(fakes.ClipReader, "clips", read)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        fakes.make(videos, tmp_path / "strict")
    progress = []
    planning = {"strict": False}
    summary = fakes.make(
        videos, tmp_path / "data", planning=planning, progress=lambda videos, clips: progress.append((videos, clips))
    )
    assert summary.dropped == {"RuntimeError while reading": 1}
    assert summary.rejected == {"RuntimeError while reading": 1}
    (row,) = map(json.loads, (tmp_path / "data" / "rejected.jsonl").read_text().splitlines())
    path = videos / "train" / "v4.mp4"
    assert row == {"file": str(path), "reason": f"RuntimeError while reading {path}: the disk is gone"}
    expected = {name: record for name, record in _records(prepared, "train").items() if name[:2] != "v4"}
    del expected["v2-00005"]
    assert _records(tmp_path / "data", "train").keys() == expected.keys()
    assert np.sum(progress, axis=0).tolist() == [9, 8]
    kept = {path.name.split(".")[0] for path in (tmp_path / "data" / "clips" / "train").iterdir()} - {"index"}
    assert kept == expected.keys()
    assert fakes.make(videos, tmp_path / "data", planning=planning).rejected == summary.rejected


def test_again_does_nothing(videos, prepared):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    fakes.make(videos, prepared)
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


_KILLED = """
import os, signal, sys
from pathlib import Path
from sr_jax.data import writing
from sr_jax.preparation import dataset
from tests.preparation import fakes

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

finished = 0
def progress(videos, clips):
    global finished
    finished += clips
    if {place!r} == "between batches" and finished == 3:
        die()

if {place!r} == "inside a batch":
    replacing, calls = dataset.replacing, []
    def replace_some(path):
        calls.append(path)
        # The depth that is kept of the second clip.
        if len(calls) == 2:
            replacing(path).__enter__().write_bytes(b"half")
            die()
        return replacing(path)
    dataset.replacing = replace_some

if {place!r} == "inside the records":
    serialise, calls = writing.serialise, []
    def serialise_some(*args):
        calls.append(args)
        return serialise(*args) if len(calls) < 5 else die()
    writing.serialise = serialise_some

fakes.make(Path(sys.argv[1]), Path(sys.argv[2]), progress=progress)
"""


def test_killed_and_started_again_makes_the_same_dataset(videos, prepared, tmp_path):
    output = tmp_path / "data"
    for place in ("between batches", "inside a batch", "inside the records"):
        command = [sys.executable, "-c", _KILLED.format(place=place), str(videos), str(output)]
        result = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == -9, f"{place}: {result.stderr}"
        assert not builder.has_dataset(output)
    fakes.make(videos, output)
    assert _files(output / "clips") == _files(prepared / "clips")
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in prepared.iterdir())
    assert (output / "manifest.json").read_text() == (prepared / "manifest.json").read_text()
    assert _files(output / "clip_records") == _files(prepared / "clip_records")


def test_other_settings_or_input_are_refused(videos, prepared, tmp_path):
    before = _files(prepared)
    with pytest.raises(UserError, match=r"codec\.weight_hash: dataset has 'm0', expected 'm1'"):
        fakes.make(videos, prepared, codec=fakes.MeanCodec(weight_hash="m1"))
    with pytest.raises(UserError, match=r"clip\.seed: dataset has 0, expected 3"):
        fakes.make(videos, prepared, seed=3)
    with pytest.raises(UserError, match="keep_clips: dataset has True, expected False"):
        fakes.make(videos, prepared, keep_clips=False)
    with pytest.raises(UserError, match=r"depth\.kind: dataset has disparity, expected depth"):
        fakes.make(videos, prepared, teachers=fakes.depth(fakes.PrecomputedDepth("depth")))
    with pytest.raises(UserError, match=r"text\.num_tokens: dataset has 4, expected 5"):
        fakes.make(videos, prepared, text=fakes.LetterText(5))
    changed = tmp_path / "videos"
    shutil.copytree(videos, changed)
    (changed / "train" / "v3.txt").write_text("somebody else")
    with pytest.raises(UserError, match="train/v3: its video, depth, labels or caption changed"):
        fakes.make(changed, prepared)
    fakes.write_source(changed / "train" / "v3.mp4", seed=3)
    for path in (changed / "train").glob("v4.*"):
        path.unlink()
    with pytest.raises(UserError, match="train/v4: in the dataset, not in the input"):
        fakes.make(changed, prepared)
    assert _files(prepared) == before


def test_a_manifest_of_before_there_was_a_setting_says_nothing_of_it(videos, tmp_path):
    made = fakes.preparation(videos, tmp_path / "data").manifest
    old = dataclasses.replace(made, settings={name: made.settings[name] for name in made.settings if name != "text"})
    assert old.differences(made) == []
    assert made.differences(dataclasses.replace(made, settings=made.settings | {"batch_size": 9})) == [
        "batch_size: dataset has 3, expected 9"
    ]


def test_a_dataset_of_before_fields_were_written_down_has_the_core_ones(videos, tmp_path):
    made = fakes.preparation(videos, tmp_path / "data").manifest
    values = json.loads(made.to_json())
    assert values["settings"].pop("fields") == sorted(CORE_FIELDS)
    old = Manifest.from_json(json.dumps(values))
    assert old.differences(made) == []
    (difference,) = old.differences(fakes.preparation(videos, tmp_path / "data", boxes=True).manifest)
    assert difference.startswith("fields: dataset has ['depth_latent', 'face_embedding'")


def test_a_folder_of_something_else_is_left_alone(videos, tmp_path):
    (tmp_path / "thesis.tex").write_text("all I have")
    with pytest.raises(UserError, match="is not empty and holds no dataset"):
        fakes.make(videos, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_killed_at_the_very_beginning(videos, tmp_path):
    (tmp_path / "work" / "shards").mkdir(parents=True)
    (tmp_path / "work" / "shards" / ".0-of-1.json.tmp").write_text('{"prov')
    fakes.make(videos, tmp_path, keep_clips=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_records", *_LISTS]


def test_clips_of_several_sizes_are_several_datasets(videos, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    for number in range(3):
        fakes.write_source(folder / "train" / f"wide{number}.mp4", size=(12, 20), seed=50 + number)
    planning = {"sizes": (Size(16, 12), Size(12, 16), Size(20, 20)), "strict": False}
    summary = fakes.make(folder, tmp_path / "data", planning=planning)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["12x16", "16x12", *_LISTS]
    assert sorted(_records(tmp_path / "data" / "12x16", "train")) == [f"wide{number}-00000" for number in range(3)]
    tall = _records(tmp_path / "data" / "16x12", "train")
    assert len(tall) == 8 and summary.clips.total() == 13
    assert tall["v0-00000"]["latent_mean"].shape[1:3] == (4, 3)
    assert builder.read_provenance(tmp_path / "data" / "12x16").clip["width"] == 16
    frames, _ = video.read_video(tmp_path / "data" / "12x16" / "clips" / "train" / "wide1-00000.mp4")
    source, _ = video.read_video(folder / "train" / "wide1.mp4")
    np.testing.assert_array_equal(frames, source[:, :, 2:18])
    assert fakes.make(folder, tmp_path / "data", planning=planning).lines() == summary.lines()


@pytest.mark.parametrize("shards", [2, 5])
def test_any_number_of_shards_makes_the_same_dataset(videos, prepared, tmp_path, shards):
    made = fakes.preparation(videos, tmp_path / "data")
    written: dict[Path, int] = {}
    for index in reversed(range(shards)):
        make_shard(made, Shard(index, shards), fakes.nothing)
        for path in (tmp_path / "data").rglob("*"):
            # No shard touches a file of another.
            if path.is_file():
                assert written.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    merge(made)
    assert _files(tmp_path / "data" / "clips") == _files(prepared / "clips")
    for name in ("manifest.json", "videos.jsonl", "rejected.jsonl"):
        assert (tmp_path / "data" / name).read_bytes() == (prepared / name).read_bytes()
    assert _files(tmp_path / "data" / "clip_records") == _files(prepared / "clip_records")


def test_a_shard_does_only_what_is_missing(videos, tmp_path):
    made = fakes.preparation(videos, tmp_path / "data", keep_clips=False)
    make_shard(made, Shard(0, 1), fakes.nothing)
    features = sorted((tmp_path / "data" / "work").glob("*/*/*.safetensors"))
    assert len(features) == 10
    features[4].unlink()
    before = {path: path.stat().st_mtime_ns for path in features if path.exists()}
    counts = np.zeros(2, int)
    make_shard(made, Shard(0, 1), lambda *done: np.add(counts, done, out=counts))
    assert counts.tolist() == [9, 10]
    again = [path for path in before if path.stat().st_mtime_ns != before[path]]
    # Those of its batch: the last bits of a result may depend on the others.
    assert len(again) == 2 and {path.parent for path in again} == {features[4].parent}


@pytest.mark.parametrize("place", ["begin", "features", "merge"])
def test_a_full_disk_is_one_line(videos, tmp_path, monkeypatch, place):
    made = fakes.preparation(videos, tmp_path / "data", keep_clips=False)
    if place == "merge":
        make_shard(made, Shard(0, 1), fakes.nothing)

    def full(path, *args, **options):
        raise OSError(28, "No space left on device", str(path))

    where = {"begin": (Path, "write_text"), "features": (Path, "write_bytes"), "merge": (merging, "_write_lines")}
    monkeypatch.setattr(*where[place], full)
    with pytest.raises(UserError, match=r"cannot write to .*data: .*No space left on device"):
        make_shard(made, Shard(0, 1), fakes.nothing) if place != "merge" else merge(made)


def test_merging_needs_every_shard(videos, tmp_path):
    made = fakes.preparation(videos, tmp_path / "data")
    make_shard(made, Shard(0, 2), fakes.nothing)
    with pytest.raises(UserError, match=r"group 1 of 3 in .* is not finished"):
        merge(made)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_changed_file_is_refused_in_the_middle_of_the_work(videos, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    make_shard(fakes.preparation(folder, tmp_path / "data"), Shard(0, 1), fakes.nothing)
    (folder / "train" / "v3.txt").write_text("somebody else")
    with pytest.raises(UserError, match="train/v3: its video, depth, labels or caption changed"):
        make_shard(fakes.preparation(folder, tmp_path / "data"), Shard(0, 1), fakes.nothing)


def test_the_preview_shows_clips_of_everywhere(videos, tmp_path):
    made = fakes.preparation(videos, tmp_path / "data", keep_clips=False)
    make_shard(made, Shard(), fakes.nothing)
    # Two of each of nine videos; all but one have only one.
    assert len(made.work.looks()) == 10
    merge(made)
    page = (tmp_path / "data" / "preview.html").read_text()
    assert page.count("<figure") == 10 and "v2, train" in page
