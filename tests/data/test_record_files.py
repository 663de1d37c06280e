"""Damaged records and record files: found, named, skipped, counted, and too many refused."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from sr_jax.data import builder
from sr_jax.data.contents import change, contents
from sr_jax.data.groups import open_groups
from sr_jax.data.mixture import Mixture
from sr_jax.data.pipeline import eval_examples, train_batches
from sr_jax.data.record_files import DamagedRecordError
from sr_jax.data.skipping import WithoutDamaged
from sr_jax.errors import UserError
from tests.data import damage
from tests.data.synthetic import write_synthetic_dataset

# Of about 20 kB, so that a byte is one record's.
RECORDS = {"height": 48, "width": 48}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset of three files of four records each."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        files = damage.write_in_files(folder, monkeypatch, 3, clips=12, **RECORDS)
    assert len(files) == 3
    return folder


@pytest.fixture
def data(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "data")


def _source(data_dir: Path) -> WithoutDamaged:
    return WithoutDamaged(builder.open_sizes(data_dir, "train")[data_dir])


def _ids(records) -> list[str]:
    return [record["clip_id"].decode() for record in records]


def _numbers(batches, count: int) -> list[list[int]]:
    return [next(batches)["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist() for _ in range(count)]


def _contents(data_dir: Path):
    return contents([data_dir], open_groups(Mixture((data_dir,)), "train", ["latent_mean"]))


def test_a_damaged_record_is_named_with_its_file_and_number(data):
    files = damage.record_files(data)
    damage.flip(files[1], 0.4)
    records = builder.open_sizes(data, "train")[data]
    assert [bool(file.end_hash) for file in records.files()] == [True] * 3
    found = []
    for number in range(12):
        try:
            records[number]
        except DamagedRecordError as error:
            found.append((number, str(error)))
    [(number, message)] = found
    assert 4 <= number < 8
    assert message.startswith(f"record {number - 4} of {files[1]} is damaged (")
    with pytest.raises(UserError, match="is damaged"):
        list(eval_examples(data, "train"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: damage.truncate(path, 0.5),
        lambda path: damage.truncate(path, 0.99),
        lambda path: damage.truncate(path, 0.0),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_file_is_named_and_its_records_are_skipped(whole, data, caplog, harm):
    files, ids = damage.record_files(data), _ids(_source(whole))
    harm(files[1])
    source = _source(data)
    assert [record.message for record in caplog.records] == [
        f"skipping all 4 records of {files[1]}: the file is damaged or gone"
    ]
    assert source.damaged == {4, 5, 6, 7}
    read = _ids(source)
    assert read[:4] + read[8:] == ids[:4] + ids[8:]
    # Four others, each a second time.
    assert len(set(read[4:8])) == 4 and not set(read[4:8]) & set(ids[4:8])


def test_whatever_is_read_first_the_same_records_stand_in(data):
    damage.flip(damage.record_files(data)[0], 0.1, 0.6)
    damage.truncate(damage.record_files(data)[2], 0.7)
    forwards, backwards = _source(data), _source(data)
    read = _ids(forwards)
    assert _ids(backwards[i] for i in reversed(range(12)))[::-1] == read
    assert len(forwards.damaged) == 6 and forwards.damaged == backwards.damaged


def test_batches_without_damaged_records_are_the_same_in_any_parts_and_after_a_resume(whole, data, caplog):
    damage.flip(damage.record_files(data)[0], 0.4)
    options = {"batch_size": 4, "seed": 0, "max_damaged": 0.1}
    expected, read = (_numbers(train_batches(folder, **options), 9) for folder in (whole, data))
    [lost] = {number for batch in expected for number in batch} - {number for batch in read for number in batch}
    # Only the lost one has another in its place.
    differing = [(e, r) for e, r in zip(np.ravel(expected), np.ravel(read), strict=True) if e != r]
    assert [number for number, _ in differing] == [lost] * 3
    assert len({number for _, number in differing}) == 1
    rows = [_numbers(train_batches(data, **options, rows=part), 9) for part in ([0, 2], [1, 3])]
    assert [[a, c, b, d] for (a, b), (c, d) in zip(*rows, strict=True)] == read
    resumed = train_batches(data, **options)
    resumed.seek(5)
    assert _numbers(resumed, 4) == read[5:]
    named = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert all("is damaged" in record.message and record.message.endswith("1 of 12 clips there") for record in named)


def test_too_many_damaged_records_are_one_line(data):
    files = damage.record_files(data)
    damage.flip(files[0], 0.1, 0.6)
    batches = train_batches(data, batch_size=12, seed=0, max_damaged=0.1)
    next(batches)
    with pytest.raises(UserError, match=r"^2 of 12 clips are damaged, more than config\.data\.max_damaged=0\.1 of th"):
        batches.require_few_damaged()
    damage.truncate(files[1], 0.5)
    with pytest.raises(UserError, match=r"^4 of 12 clips are damaged"):
        train_batches(data, batch_size=4, seed=0, max_damaged=0.3)
    for path in files:
        damage.truncate(path, 0.5)
    with pytest.raises(UserError, match=r"^all 12 records in .* are damaged: copy or prepare them again"):
        train_batches(data, batch_size=4, seed=0, max_damaged=1.0)


def test_storage_that_is_away_is_no_damage(data):
    records = builder.open_sizes(data, "train")[data]
    shutil.rmtree(data)
    with pytest.raises(FileNotFoundError):
        records[0]
    with pytest.raises(FileNotFoundError):
        records.files()


def test_contents_of_a_dataset(whole, data, tmp_path, monkeypatch):
    before = _contents(whole)
    assert before["clips"] == [12] and len(before["files"]) == 3
    assert change(before, _contents(data)) == ""
    # Damage is none, then or now.
    damage.truncate(damage.record_files(data)[1], 0.9)
    damaged = _contents(data)
    assert change(before, damaged) == change(damaged, before) == ""
    for name, options, message in (
        ("more", {"clips": 13}, "it had 12 clips, now it has 13"),
        ("others", {"clips": 12, "seed": 1}, "array_record-00000-of-00003 holds other records than then"),
        ("wider", {"clips": 12, "more_fields": {"grid": "t h w"}}, "holds other records than then"),
    ):
        damage.write_in_files(tmp_path / name, monkeypatch, 3, **RECORDS | options)
        assert message in change(before, _contents(tmp_path / name))
    damage.write_in_files(tmp_path / "again", monkeypatch, 3, clips=12, **RECORDS)
    assert _contents(tmp_path / "again") == before
    damage.write_in_files(tmp_path / "two", monkeypatch, 2, clips=12, **RECORDS)
    assert change(before, _contents(tmp_path / "two")) == "it had 3 record files, now it has 2"
    assert change(before, before | {"metadata": "other"}) == "its fields or its empty prompt are others"


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json", "metadata.json"])
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"a"'])
def test_damaged_metadata_are_one_line(tmp_path, name, text):
    write_synthetic_dataset(tmp_path, clips=1)
    next(tmp_path.rglob(name)).write_text(text)
    with pytest.raises(UserError, match="copy or prepare it again"):
        builder.open_sizes(tmp_path, "train")
