"""The dataset on disk: records in ArrayRecord files, read through TFDS, without TensorFlow.

A prepared dataset is a folder DATA with the TFDS dataset `DATA/clip_records/1.0.0` in it. All its records have one
shape; clips of several sizes are several datasets, `DATA/480x720/clip_records/1.0.0` and so on, and shorter clips and
still images beside them are others, `DATA/25x480x720/clip_records/1.0.0` and `DATA/1x480x720/clip_records/1.0.0`. These
are written one after the other, beside `DATA/work`; `DATA/manifest.json` says that all are there. What is added to a
dataset later lies in `added/001/clip_records/1.0.0` beside its first records, and so on; nothing that is there is ever
changed.
"""

import base64
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from jaxtyping import Float

from sr_jax.data.faces import FaceCount
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.joined import Joined, joined
from sr_jax.data.record_files import Records
from sr_jax.data.records import Provenance, RecordSpec
from sr_jax.errors import UserError

NAME = "clip_records"
VERSION = "1.0.0"
# Keys of the dataset's metadata.
PROVENANCE, EMPTY_PROMPT, AXES, FACES = "provenance", "empty_prompt", "axes", "faces"
_ADDED_FOLDER = "added"
MANIFEST_FILE = "manifest.json"
"""Beside the datasets, once all of them are complete."""
WORK_FOLDER = "work"
"""Beside the datasets, while they are made."""


def has_dataset(data_dir: Path | str) -> bool:
    """Whether `data_dir` holds a complete dataset."""
    return (builder_dir(data_dir) / "dataset_info.json").is_file()


def added_folder(data_dir: Path | str, number: int) -> Path:
    """Where the records lie that are added to the dataset in `data_dir`, from 1: a data folder of its own."""
    return Path(data_dir) / _ADDED_FOLDER / f"{number:03d}"


def part_folders(data_dir: Path | str) -> list[Path]:
    """The data folders of all records of one shape: `data_dir` itself, and what was added to it, in order."""
    folders = [Path(data_dir), *sorted((Path(data_dir) / _ADDED_FOLDER).glob("[0-9]*"))]
    return [folder for folder in folders if has_dataset(folder)]


def dataset_folders(data_dir: Path | str) -> list[Path]:
    """The folders of one shape of records each: `data_dir` itself, or those in it when it holds several.

    Shorter clips come behind longer ones, and still images last.

    Raises:
        UserError: When there is no dataset in `data_dir`, or those of several sizes are not all made yet.
    """
    data_dir = Path(data_dir)
    if part_folders(data_dir):
        return [data_dir]
    folders = [path for path in data_dir.glob("*x*") if part_folders(path)]
    folders.sort(key=lambda path: (-_named_frames(path), path.name))
    if not folders:
        raise UserError(f"no dataset in {data_dir}: make one with `python -m sr_jax.prepare`")
    if (data_dir / WORK_FOLDER).exists() and not (data_dir / MANIFEST_FILE).exists():
        raise UserError(f"the preparation of {data_dir} is not finished: run `python -m sr_jax.prepare` again")
    return folders


def open_dataset(data_dir: Path | str, split: str, fields: Iterable[str] | None = None) -> Records | Joined:
    """Random access to the records of a split, as stored: float16 arrays, text as bytes.

    The result can be pickled, so Grain's workers may share it.

    Args:
        data_dir: Folder that `prepare` wrote.
        split: Which split.
        fields: The arrays and other entries to read; nothing else is decoded. None: all.

    Raises:
        UserError: When there is no dataset in `data_dir`, it has no such split or field, or holds several sizes.
    """
    folders = dataset_folders(data_dir)
    if len(folders) > 1:
        names = ", ".join(str(folder) for folder in folders)
        raise UserError(f"{data_dir} holds clips of several sizes: name one of {names}")
    return open_sizes(data_dir, split, fields)[folders[0]]


def open_sizes(data_dir: Path | str, split: str, fields: Iterable[str] | None = None) -> dict[Path, Records | Joined]:
    """The records of a split, as `open_dataset` gives them, of each of `dataset_folders` that has any.

    Raises:
        UserError: When there is no dataset in `data_dir`, or no such split or field.
    """
    parts = {
        folder: [_read_only_builder(part) for part in part_folders(folder)] for folder in dataset_folders(data_dir)
    }
    with_split = {
        folder: [builder for builder in builders if split in builder.info.splits] for folder, builders in parts.items()
    }
    sources = {
        folder: joined([Records(folder, builder, split, fields) for builder in builders])
        for folder, builders in with_split.items()
        if builders
    }
    if not sources:
        raise UserError(f"the dataset in {data_dir} has no split {split!r}: it has {split_names(data_dir)}")
    return sources


def split_names(data_dir: Path | str) -> list[str]:
    """The splits of the dataset in `data_dir`, of any size, by name.

    Raises:
        UserError: When there is no dataset.
    """
    parts = itertools.chain.from_iterable(map(part_folders, dataset_folders(data_dir)))
    return sorted({name for part in parts for name in _read_only_builder(part).info.splits})


def read_provenance(data_dir: Path | str) -> Provenance:
    """What made the dataset, or the datasets of several sizes, in `data_dir`.

    Raises:
        UserError: When there is no dataset in `data_dir`, or its sizes were not made together.
    """
    folders = dataset_folders(data_dir)
    made = [Provenance.from_json(_info(folder).metadata[PROVENANCE]) for folder in folders]
    if len(made) == 1:
        return made[0]
    for folder, item in zip(folders, made):
        if differences := item.unsized().differences(made[0].unsized()):
            raise UserError(f"{folder} and {folders[0]} were not made together: {differences[0]}")
    return made[0].of_shapes([shape for item in made for shape in item.shapes])


def metadata_hash(data_dir: Path | str) -> str:
    """A hash of what `dataset_folders` say beside their records: fields and empty prompt, but not who made them."""
    metadata = [dict(_info(folder).metadata) for folder in dataset_folders(data_dir)]
    kept = [{name: item.get(name) for name in (AXES, EMPTY_PROMPT)} for item in metadata]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def count_clips(data_dir: Path | str, split: str) -> list[int]:
    """How many clips the split has in each of the folders of `open_sizes`.

    Raises:
        UserError: As `open_sizes`.
    """
    return [len(source) for source in open_sizes(data_dir, split).values()]


def read_faces(data_dir: Path | str) -> dict[str, FaceCount]:
    """How many clips of each split have a face; {} for a dataset that was prepared before that was counted.

    Raises:
        UserError: When there is no dataset in `data_dir`.
    """
    counts: dict[str, FaceCount] = {}
    for part in itertools.chain.from_iterable(map(part_folders, dataset_folders(data_dir))):
        metadata = _read_only_builder(part).info.metadata
        if FACES not in metadata:
            return {}
        for split, count in metadata[FACES].items():
            counts[split] = counts.get(split, FaceCount()) + FaceCount(**count)
    return counts


def read_spec(folder: Path | str) -> RecordSpec:
    """The arrays of the records in one of `dataset_folders`."""
    info = _info(folder)
    # Datasets that were made before fields had axes have these, at most.
    axes = info.metadata.get(AXES) or {name: axes for name, axes in CORE_FIELDS.items() if name in info.features}
    return RecordSpec.of(axes, {name: info.features[name].shape for name in axes})


def read_empty_prompt(data_dir: Path | str) -> Float[np.ndarray, "l d"]:
    """The text teacher's embedding of the empty caption, float32: what text dropout puts in place of a caption.

    Raises:
        UserError: When there is no dataset in `data_dir`, or it was prepared before datasets held this.
    """
    info = _info(dataset_folders(data_dir)[0])
    if EMPTY_PROMPT not in info.metadata:
        raise UserError(f"the dataset in {data_dir} lacks the embedding of the empty prompt: prepare it again")
    values = np.frombuffer(base64.b64decode(info.metadata[EMPTY_PROMPT]), np.float16)
    return values.reshape(info.features["text_embedding"].shape).astype(np.float32)


def _named_frames(folder: Path) -> float:
    """The number of frames that the name of a folder begins with; infinite for that of the longest clips, without."""
    named = re.match(r"(\d+)x\d+x", folder.name)
    return float(named[1]) if named else math.inf


def builder_dir(data_dir: Path | str) -> Path:
    """Where TFDS looks for the records of a data folder."""
    return Path(data_dir) / NAME / VERSION


def _info(folder: Path | str) -> tfds.core.DatasetInfo:
    """What the first records of a folder say of themselves, which holds for all of them."""
    return _read_only_builder(part_folders(folder)[0]).info


def _read_only_builder(folder: Path) -> Any:
    try:
        builder = tfds.builder_from_directory(builder_dir(folder))
        missing = builder.info.metadata is None or PROVENANCE not in builder.info.metadata
    except (OSError, ValueError, TypeError, json_format.Error) as error:
        raise UserError(
            f"the dataset in {folder} cannot be read ({type(error).__name__}: {error}): copy or prepare it again"
        ) from error
    if missing:
        raise UserError(f"the metadata of the dataset in {folder} do not say what made it: copy or prepare it again")
    return builder
