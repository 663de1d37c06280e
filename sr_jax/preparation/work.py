"""What lies on disk while a dataset is made, and how the work is divided.

    work/shards/0-of-4.json             what shard 0 of 4 makes the dataset from; every shard's must be equal
    work/000012/plan.json               what becomes of the videos of group 12
    work/000012/train/CLIP.safetensors  the features of one of its clips
    work/000012/train/CLIP.json         a look at it, of some clips

Files of the input are divided into groups of neighbours, and groups among shards. A group is always worked on in the
same way, whichever shard does it, so the number of shards changes nothing. Every file belongs to one group or one shard
and appears complete or not at all.

Of a dataset that is there already, the work is what is added to it.
"""

import dataclasses
import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict

from sr_jax.conversion.tensor_files import write_tensors
from sr_jax.data.builder import MANIFEST_FILE, WORK_FOLDER
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.records import Provenance
from sr_jax.errors import UserError
from sr_jax.outputs import replacing, writing_to
from sr_jax.preparation.inputs import FoundFile
from sr_jax.preparation.planning import ClipPlan, VideoPlan

# How many differences an error lists.
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Shard:
    """Part `index`, counted from 0, of `count` parts of the work."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads "i/n".

        Raises:
            UserError: When `text` is not that.
        """
        try:
            index, count = (int(part) for part in text.split("/"))
        except ValueError as error:
            raise UserError(f"--shard {text!r} must be i/n, for example 0/4") from error
        if not 0 <= index < count:
            raise UserError(f"--shard {text}: shards of {count} are 0/{count} to {count - 1}/{count}")
        return cls(index, count)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder is prepared from; a folder is only ever continued with an equal manifest.

    Attributes:
        provenance: For each kind of clips, what makes the records.
        settings: What decides which clips there are, and what of the records the provenance does not say.
        videos: "split/name" of every file; that a file cannot be used is in `videos.jsonl`, in the same order.
        additions: How often videos were added to the dataset, of a dataset; of work, the number of the addition that it
            is, and 0 for the first videos.
    """

    provenance: dict[str, Provenance]
    settings: dict[str, Any]
    videos: tuple[str, ...]
    additions: int = 0

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Reads what `to_json` wrote."""
        fields = json.loads(text)
        # What every dataset held before that was written down.
        fields["settings"].setdefault("fields", sorted(CORE_FIELDS))
        provenance = {size: Provenance(**made) for size, made in fields["provenance"].items()}
        return cls(provenance, fields["settings"], tuple(fields["videos"]), fields.get("additions", 0))

    def differences(self, expected: "Manifest") -> list[str]:
        """One line for each difference to `expected`; empty when they agree."""
        lines = self.other_settings(expected)
        known, wanted = set(self.videos), set(expected.videos)
        lines += [f"{name}: in the dataset, not in the input" for name in sorted(known - wanted)]
        lines += [f"{name}: in the input, not in the dataset" for name in sorted(wanted - known)]
        return lines

    def other_settings(self, expected: "Manifest") -> list[str]:
        """One line for each difference to `expected` that is none of the videos."""
        lines = []
        for size, made in expected.provenance.items():
            if size in self.provenance:
                lines += self.provenance[size].differences(made)
        here, there = (
            flatten_dict({"sizes": sorted(item.provenance), **item.settings}, sep=".") for item in (self, expected)
        )
        lines += [
            f"{name}: dataset has {here[name]}, expected {there.get(name)}"
            # What an older version did not write down cannot be compared.
            for name in sorted(here)
            if here[name] != there.get(name)
        ]
        return lines


class WorkFolder:
    """The groups of a dataset that is being made.

    Attributes:
        output: Folder of the dataset.
        groups: The files of each group.
    """

    def __init__(self, output: Path, files: Sequence[FoundFile], group_size: int):
        self.output = output
        self.groups = [files[start : start + group_size] for start in range(0, len(files), group_size)]
        self._work = output / WORK_FOLDER

    def begin(self, manifest: Manifest, shard: Shard) -> None:
        """Makes the folder, or checks that it was begun for the same dataset.

        Raises:
            UserError: When `output` was begun with other input or settings, holds something else, or cannot be written.
        """
        self.check(manifest)
        with writing_to(self.output):
            write_text(self._work / "shards" / f"{shard.index}-of-{shard.count}.json", manifest.to_json())

    def check(self, manifest: Manifest) -> None:
        """Checks that the work in the folder, if there is any, was begun for the same dataset.

        Raises:
            UserError: As `begin`.
        """
        begun = self.begun()
        for other in begun:
            refuse(self._work if self.done() else self.output, other.differences(manifest))
        if not begun and not self.done() and self.output.exists() and _holds_something(self.output):
            raise UserError(f"{self.output} is not empty and holds no dataset: choose another output folder")

    def begun(self) -> list[Manifest]:
        """What each shard makes that was begun."""
        return [_read_manifest(file) for file in sorted((self._work / "shards").glob("*.json"))]

    def done(self) -> Manifest | None:
        """What the dataset in the folder was made from; None while there is none."""
        file = self.output / MANIFEST_FILE
        return _read_manifest(file) if file.exists() else None

    def remove(self) -> None:
        """Removes all work. Killed at any moment, it leaves it as a whole or not at all where it is looked for."""
        if self._work.exists():
            self._work.rename(self._work.with_name(f".{WORK_FOLDER}.{secrets.token_hex(4)}"))
        self._sweep()

    def clean(self) -> None:
        """Removes work that has become a part of the dataset, where a call was killed before it did so."""
        if self._is_left_over():
            self.remove()
        self._sweep()

    def _sweep(self) -> None:
        for gone in self.output.glob(f".{WORK_FOLDER}.*"):
            shutil.rmtree(gone, ignore_errors=True)

    def _is_left_over(self) -> bool:
        done = self.done()
        if done is None or not self._work.exists():
            return False
        # In this order, for another shard that begins: it says so before it writes a plan.
        planned = any(self._work.glob("*/plan.json"))
        begun = self.begun()
        return all(manifest.additions <= done.additions for manifest in begun) if begun else planned

    def read_plans(self, group: int) -> list[VideoPlan] | None:
        """The plans of a group, or None when it has none yet."""
        file = self._group(group) / "plan.json"
        if not file.exists():
            return None
        return [
            VideoPlan.from_json(fields, found)
            for fields, found in zip(json.loads(file.read_text()), self.groups[group], strict=True)
        ]

    def write_plans(self, group: int, plans: Sequence[VideoPlan]) -> None:
        """Stores the plans of a group.

        Raises:
            UserError: When they cannot be written.
        """
        with writing_to(self.output):
            write_json(self._group(group) / "plan.json", [plan.to_json() for plan in plans])

    def features_path(self, group: int, plan: ClipPlan) -> Path:
        """Where the features of a clip lie."""
        return self._group(group) / plan.source.split / f"{plan.clip_id}.safetensors"

    def look_path(self, group: int, plan: ClipPlan) -> Path:
        """Where the look at a clip lies, if there is one."""
        return self._group(group) / plan.source.split / f"{plan.clip_id}.json"

    def looks(self) -> list[Path]:
        """All looks there are, in order."""
        return sorted(self._work.glob("*/*/*.json"))

    def _group(self, group: int) -> Path:
        return self._work / f"{group:06d}"


def _holds_something(folder: Path) -> bool:
    """Whether there is more than a call leaves that was killed at its very beginning."""
    if not folder.is_dir():
        return True
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return visible not in ([], [folder / WORK_FOLDER]) or any((folder / WORK_FOLDER).glob("*/plan.json"))


def _read_manifest(file: Path) -> Manifest:
    try:
        return Manifest.from_json(file.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged: choose another output folder, or restore it") from error


def refuse(output: Path, differences: Sequence[str]) -> None:
    """Refuses a folder that differs from what is wanted.

    Raises:
        UserError: When there are differences.
    """
    if differences:
        raise UserError(
            f"{output} was begun with other input or settings ({'; '.join(differences[:_SHOWN])}): "
            "choose another output folder or remove it"
        )


def write_features(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the features of a clip, whole or not at all.

    Not as .npz: several threads read them, and NumPy reads a header by `ast.literal_eval`, which Python 3.11 cannot do
    in two threads at once ("AST constructor recursion depth mismatch").
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, arrays)


def read_features(path: Path) -> dict[str, np.ndarray]:
    """The features of a clip, as they were written."""
    return safetensors.numpy.load_file(path)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(value))


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
