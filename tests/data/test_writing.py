import json
import os
import resource
import signal
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing
from tensorflow_datasets.core.utils import shard_utils
from tensorflow_datasets.proto import tf_example_pb2

from sr_jax.data import builder, writing
from sr_jax.data.faces import FaceCount
from sr_jax.errors import UserError
from tests.data.synthetic import by_id, empty_prompt, provenance, random_records, record_spec


@pytest.fixture(scope="module")
def spec():
    return record_spec()


@pytest.fixture
def small_files(monkeypatch):
    """Files of two records or more, so that a few records are several files."""
    monkeypatch.setattr(shard_utils.ShardConfig, "min_shard_size", 9_000)
    monkeypatch.setattr(shard_utils.ShardConfig, "max_shard_size", 20_000)


def _write(path, spec, splits, **options):
    writing.write_dataset(
        path, spec=spec, provenance=provenance(), empty_prompt=empty_prompt(spec), splits=splits, **options
    )
    return {file.name: file.read_bytes() for file in (path / "clip_records" / "1.0.0").iterdir()}


def test_files_are_the_same_whatever_the_order_and_however_many_at_a_time(tmp_path, spec, small_files, monkeypatch):
    records = random_records(spec, clips=13, faceless=3)
    held_out = random_records(spec, clips=2, prefix="other")
    written = []
    files = _write(tmp_path / "a", spec, {"train": by_id(records), "test": by_id(held_out)}, progress=written.append)
    assert sorted(files) == [
        "clip_records-test.array_record-00000-of-00001",
        *[f"clip_records-train.array_record-0000{number}-of-00004" for number in range(4)],
        "dataset_info.json",
        "features.json",
        "metadata.json",
    ]
    assert written == [3, 3, 4, 3, 2]
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert files == _write(tmp_path / "b", spec, {"train": by_id(records[::-1]), "test": by_id(held_out)})
    # As TFDS orders records by its own hash, so that datasets it wrote have the same order.
    hasher = hashing.Hasher("train")
    stored = [record["clip_id"].decode() for record in builder.open_dataset(tmp_path / "a", "train")]
    assert stored == sorted(by_id(records), key=hasher.hash_key)
    assert builder.read_faces(tmp_path / "a") == {"train": FaceCount(13, 10, 26, 20), "test": FaceCount(2, 2, 4, 4)}
    assert builder.count_clips(tmp_path / "a", "test") == [2]
    (train,) = (split for split in json.loads(files["dataset_info.json"])["splits"] if split["name"] == "train")
    assert int(train["numBytes"]) == sum(len(writing.serialise(record, spec)) for record in records)


def test_a_record_is_what_tfds_makes_of_it(spec):
    (record,) = random_records(spec, clips=1)
    features = writing._features(spec)
    serializer = tfds.core.ExampleSerializer(features.get_serialized_info())
    expected = tf_example_pb2.Example.FromString(serializer.serialize_example(features.encode_example(record)))
    serialised = writing.serialise(record | {"source_first_frame": 300, "prompt": "", "fps": 0.0}, spec)
    expected.features.feature["source_first_frame"].int64_list.value[:] = [300]
    expected.features.feature["prompt"].bytes_list.value[:] = [b""]
    expected.features.feature["fps"].float_list.value[:] = [0.0]
    found = tf_example_pb2.Example.FromString(serialised)
    assert found == expected
    assert len(serialised) == len(expected.SerializeToString())
    # Always in one order of the entries, where that of TFDS differs from process to process.
    places = [
        serialised.index(b"\n" + bytes([len(name)]) + name.encode()) for name in sorted(expected.features.feature)
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda array: array[1:],
            r"depth_latent of clip000 is float16\[1, 4, 4, 16\], records have float16\[2, 4, 4, 16\]",
        ),
        (lambda array: array.astype(np.float32), r"depth_latent of clip000 is float32\[2, 4, 4, 16\]"),
    ],
)
def test_arrays_that_are_not_as_the_spec_says_are_refused(tmp_path, spec, change, message):
    records = random_records(spec, clips=1)
    records[0]["depth_latent"] = change(records[0]["depth_latent"])
    with pytest.raises(ValueError, match=message):
        _write(tmp_path, spec, {"train": by_id(records)})
    assert not builder.has_dataset(tmp_path)


def test_an_empty_prompt_of_another_shape_is_refused(tmp_path, spec):
    other = np.zeros((3, 12), np.float32)
    with pytest.raises(ValueError, match=r"shape \(3, 12\), captions have \(4, 12\)"):
        writing.write_dataset(tmp_path, spec=spec, provenance=provenance(), empty_prompt=other, splits={})


class _Failing(Mapping):
    """Records of which one cannot be read."""

    def __init__(self, records, failing):
        self._records, self._failing = records, failing

    def __len__(self):
        return len(self._records)

    def __iter__(self):
        return iter(self._records)

    def __getitem__(self, clip_id):
        if clip_id == self._failing:
            raise RuntimeError("stopped")
        return self._records[clip_id]


def test_a_failed_write_leaves_no_dataset_and_can_be_repeated(tmp_path, spec, small_files):
    records = by_id(random_records(spec, clips=8))
    with pytest.raises(RuntimeError, match="stopped"):
        _write(tmp_path, spec, {"train": _Failing(records, "clip005")})
    assert list((tmp_path / "clip_records").iterdir()) == []
    (tmp_path / "clip_records" / "incomplete.abc").mkdir()  # what kill -9 leaves
    _write(tmp_path, spec, {"train": records})
    assert len(builder.open_dataset(tmp_path, "train")) == 8
    assert [path.name for path in (tmp_path / "clip_records").iterdir()] == ["1.0.0"]
    with pytest.raises(UserError, match="already holds a dataset"):
        _write(tmp_path, spec, {"train": records})


@pytest.fixture
def short_files():
    """No file may grow beyond 8 KiB: the disk is full, for all that a writer knows."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, before[0][1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
    signal.signal(signal.SIGXFSZ, before[1])


@pytest.mark.parametrize("clips", [1, 4])
def test_what_cannot_be_stored_is_an_error_of_the_system(tmp_path, spec, short_files, clips):
    with pytest.raises(OSError, match=r"write\(\) failed: File too large"):
        _write(tmp_path, spec, {"train": by_id(random_records(spec, clips=clips))})
    assert not builder.has_dataset(tmp_path)
