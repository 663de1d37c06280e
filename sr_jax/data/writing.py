"""Writing a dataset: records in ArrayRecord files, several of them at a time, with the metadata that TFDS reads.

TFDS's own writer takes records in any order, encodes them one after the other and sorts them; where they are more than
1,000 MiB, on disk and with TensorFlow. Here the order is known before a record is read, so each file is written on its
own, from its first record to its last, and every byte is written once.
"""

import base64
import dataclasses
import hashlib
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Float
from tensorflow_datasets.core.utils import shard_utils

from sr_jax.data import builder
from sr_jax.data.faces import FaceCount
from sr_jax.data.records import STRING_FIELDS, Provenance, RecordSpec
from sr_jax.data.serialising import serialise
from sr_jax.errors import UserError

# One record is read at a time, wherever it lies; files are written side by side, not the parts of one. Compression
# would leave 92% of numbers in float16, and take half the time of a merge, and more of every reading.
_OPTIONS = "group_size:1,max_parallelism:1,uncompressed"
# So many files at a time: more than any disk keeps up with.
_THREADS = 16
_INCOMPLETE = "incomplete."

Split = Mapping[str, Mapping[str, Any]]
"""The records of a split by their `clip_id`, each read when it is asked for, by several threads: the arrays in float16,
`STRING_FIELDS`, `fps` and `source_first_frame`."""


def write_dataset(
    data_dir: Path | str,
    *,
    spec: RecordSpec,
    provenance: Provenance,
    empty_prompt: Float[np.ndarray, "l d"],
    splits: Mapping[str, Split],
    progress: Callable[[int], object] = lambda records: None,
) -> None:
    """Writes a dataset under `data_dir`; it appears complete or not at all.

    Records are ordered by a hash of their `clip_id`, so the same records make the same files, byte for byte, in
    whatever order they come and however many files are written at a time. What an earlier, killed call left
    half-written is removed.

    Args:
        data_dir: Folder to write into; must not hold a dataset yet.
        spec: The arrays.
        provenance: What made the records.
        empty_prompt: The text teacher's embedding of "", of the records' `text_shape`.
        splits: The records of each split, by its name; at least one in each.
        progress: Called with the number of records of each file that is complete.

    Raises:
        UserError: When `data_dir` already holds a dataset.
        ValueError: When `empty_prompt` or an array of a record has another shape or type than `spec` says.
        OSError: When something cannot be written.
    """
    if empty_prompt.shape != spec.text_shape:
        raise ValueError(f"the empty prompt has shape {empty_prompt.shape}, captions have {spec.text_shape}")
    if builder.has_dataset(data_dir):
        raise UserError(f"{data_dir} already holds a dataset: choose another folder or remove it")
    folder = builder.builder_dir(data_dir)
    for leftover in folder.parent.glob(f"{_INCOMPLETE}*"):
        shutil.rmtree(leftover)
    incomplete = folder.with_name(f"{_INCOMPLETE}{secrets.token_hex(4)}")
    incomplete.mkdir(parents=True)
    try:
        written = _write_records(incomplete, spec, splits, progress)
        faces = {split: sum((part.faces for part in parts), FaceCount()) for split, parts in written.items()}
        metadata = {
            builder.PROVENANCE: provenance.to_json(),
            builder.EMPTY_PROMPT: _encode(empty_prompt),
            builder.AXES: dict(spec.fields),
            builder.FACES: {split: dataclasses.asdict(count) for split, count in faces.items()},
        }
        _write_info(incomplete, spec, metadata, written)
        incomplete.rename(folder)
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A file to write: the records it holds, in order."""

    path: Path
    split: str
    clip_ids: Sequence[str]


@dataclasses.dataclass(frozen=True)
class _Written:
    """What a file holds."""

    records: int
    num_bytes: int
    faces: FaceCount


def _write_records(
    folder: Path, spec: RecordSpec, splits: Mapping[str, Split], progress: Callable[[int], object]
) -> dict[str, list[_Written]]:
    """Writes the record files of all splits, and says what each holds, in order."""
    shards = [shard for split, records in splits.items() for shard in _shards(folder, spec, split, records)]
    written: dict[str, list[_Written]] = {split: [] for split in splits}
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        # Of files that are not begun when one fails, `map` writes none.
        results = threads.map(lambda shard: _write_shard(shard, spec, splits[shard.split]), shards)
        for shard, result in zip(shards, results, strict=True):
            written[shard.split].append(result)
            progress(result.records)
    return written


def _shards(folder: Path, spec: RecordSpec, split: str, records: Split) -> list[_Shard]:
    """The files of a split: of 64 MiB to 1 GiB each, as TFDS has them, and one of less."""
    # As TFDS orders them.
    ordered = sorted(records, key=lambda clip_id: hashlib.md5(f"{split}{clip_id}".encode()).digest())
    # All records are as large, but for their texts.
    total = len(ordered) * len(serialise(records[ordered[0]], spec))
    count = shard_utils.ShardConfig().get_number_shards(total, len(ordered))
    ends = shard_utils.get_shard_boundaries(len(ordered), count)
    names = _file_names(folder, split)
    return [
        _Shard(Path(names.sharded_filepath(shard_index=number, num_shards=count)), split, ordered[start:end])
        for number, (start, end) in enumerate(itertools.pairwise([0, *ends]))
    ]


def _write_shard(shard: _Shard, spec: RecordSpec, records: Split) -> _Written:
    num_bytes, faces = 0, FaceCount()
    writer = _storing(ArrayRecordWriter, str(shard.path), _OPTIONS)
    for clip_id in shard.clip_ids:
        record = records[clip_id]
        serialised = serialise(record, spec)
        _storing(writer.write, serialised)
        num_bytes += len(serialised)
        faces = faces.with_clip(record["face_mask"])
    _storing(writer.close)
    return _Written(len(shard.clip_ids), num_bytes, faces)


def _storing(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function of ArrayRecord, which says in another kind of error that a disk is full, for example."""
    try:
        return function(*arguments)
    except RuntimeError as error:
        raise OSError(str(error).split(";")[0]) from error


def _features(spec: RecordSpec) -> tfds.features.FeaturesDict:
    # As bytes: TFDS otherwise turns every value into a float32 of its own, which is slow and twice as large.
    features: dict[str, Any] = {
        name: tfds.features.Tensor(shape=shape, dtype=np.float16, encoding=tfds.features.Encoding.BYTES)
        for name, shape in spec.array_shapes().items()
    }
    features |= {name: tfds.features.Text() for name in STRING_FIELDS}
    features |= {"fps": tfds.features.Scalar(np.float32), "source_first_frame": tfds.features.Scalar(np.int64)}
    return tfds.features.FeaturesDict(features)


def _write_info(
    folder: Path, spec: RecordSpec, metadata: Mapping[str, Any], written: Mapping[str, Sequence[_Written]]
) -> None:
    """Writes what TFDS reads beside the records."""
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=builder.NAME,
            version=tfds.core.Version(builder.VERSION),
            data_dir=str(folder),
            module_name=builder.__name__,
        ),
        description="Human clips as latents, with the features that supervise them.",
        features=_features(spec),
        metadata=tfds.core.MetadataDict(metadata),
    )
    info.set_file_format("array_record")
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[part.records for part in parts],
            num_bytes=sum(part.num_bytes for part in parts),
            filename_template=_file_names(folder, split),
        )
        for split, parts in written.items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(folder)


def _file_names(folder: Path, split: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=builder.NAME, split=split, filetype_suffix="array_record"
    )


def _encode(embedding: Float[np.ndarray, "l d"]) -> str:
    """Float16 as text, because metadata is JSON."""
    return base64.b64encode(embedding.astype(np.float16).tobytes()).decode()
