"""The record files of a dataset: reading one record, which files are whole, and what tells a set of files from others.

ArrayRecord keeps a checksum of every record, and at a file's end where each of them starts.
"""

import bisect
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, SupportsIndex

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from sr_jax.data.fields import FACE_BOXES
from sr_jax.errors import UserError

# The end of a file: 64 KiB that say where its index is, behind the index and what fits of the last records.
_END_BYTES = 128 * 2**10
_THREADS = 16


class DamagedRecordError(UserError):
    """A record whose bytes are not those that were written. The message names its file and its number in there."""


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """One of the files that hold a split's records.

    Attributes:
        path: Where it is.
        records: How many it holds, from what the dataset's metadata says.
        end_hash: Its size and a hash of its last 128 KiB, with the lengths of its records; empty when it is damaged, so
            that none of them can be read.
    """

    path: Path
    records: int
    end_hash: str


class Records(Sequence):
    """The records of one split of a folder, of which some entries are read.

    TFDS can leave out entries of records only with TensorFlow, so it gives their bytes, and only what is wanted is
    decoded of them.
    """

    def __init__(self, folder: Path, builder: Any, split: str, fields: Iterable[str] | None):
        """Opens no file yet.

        Raises:
            UserError: When the records lack a field.
        """
        features = builder.info.features
        wanted = list(features if fields is None else fields)
        for name in wanted:
            if name not in features:
                writer = "the teacher that writes it (config.features of configs/prepare.py)"
                with_what = "config.face_boxes=True" if name in FACE_BOXES else writer
                raise UserError(
                    f"the records in {folder} have no field {name!r}: prepare the videos again with {with_what}"
                )
        self._features = tfds.features.FeaturesDict({name: features[name] for name in wanted})
        self._bytes = builder.as_data_source(split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        shards = builder.info.splits[split].file_instructions
        self._paths = [Path(shard.filename) for shard in shards]
        self._ends = list(itertools.accumulate(shard.take for shard in shards))

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """One record.

        Raises:
            DamagedRecordError: When it cannot be read, though its storage can.
            OSError: When its storage cannot be read: a mount that is gone, for example.
        """
        try:
            return self._features.deserialize_example_np(self._bytes[index])
        except (RuntimeError, ValueError) as error:
            path, number = self._place(index.__index__())
            _require_storage(path)
            reason = str(error).split(";")[0]
            raise DamagedRecordError(f"record {number} of {path} is damaged ({reason})") from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def files(self) -> list[RecordFile]:
        """The files behind them, in order, each opened once.

        Raises:
            OSError: When their storage cannot be read.
        """
        counts = [end - start for start, end in itertools.pairwise([0, *self._ends])]
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(threads.map(_inspect, self._paths, counts))

    def _place(self, index: int) -> tuple[Path, int]:
        """The file of a record, and its number in there, from 0."""
        number = bisect.bisect_right(self._ends, index)
        return self._paths[number], index - (self._ends[number - 1] if number else 0)


def _inspect(path: Path, records: int) -> RecordFile:
    try:
        reader = ArrayRecordReader(str(path))
        whole = reader.num_records() == records
        reader.close()
    except RuntimeError:
        _require_storage(path)
        whole = False
    return RecordFile(path, records, _end_hash(path) if whole else "")


def _end_hash(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES))
        return f"{size}-{hashlib.sha256(file.read()).hexdigest()[:16]}"


def _require_storage(path: Path) -> None:
    """Tells a file that is damaged, or gone from its folder, from storage that cannot be read.

    Raises:
        OSError: When that is so: no record would be found there, and all would be there again later.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except (FileNotFoundError, IsADirectoryError):
        # Raises where the whole folder is gone.
        path.parent.stat()
