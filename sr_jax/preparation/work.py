"""What lies on disk while a dataset is made, and how the work is divided.

    work/shards/0-of-4.json       what shard 0 of 4 makes the dataset from; every shard's must be equal
    work/000012/plan.json         what becomes of the videos of group 12
    work/000012/train/CLIP.npz    the features of one of its clips
    work/000012/preview.json       a look at one of its clips

Files of the input are divided into groups of neighbours, and groups among shards. A group is always worked on in the
same way, whichever shard does it, so the number of shards changes nothing. Every file belongs to one group or one shard
and appears complete or not at all.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

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
        provenance: For each size of clips, what makes the records.
        settings: What decides which clips there are, and what of the records the provenance does not say.
        videos: "split/name" of every file of the input.
    """

    provenance: dict[str, Provenance]
    settings: dict[str, Any]
    videos: tuple[str, ...]

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
        return cls(provenance, fields["settings"], tuple(fields["videos"]))

    def differences(self, expected: "Manifest") -> list[str]:
        """One line for each difference to `expected`; empty when they agree."""
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
        known, wanted = set(self.videos), set(expected.videos)
        lines += [f"{name}: in the dataset, not in the input" for name in sorted(known - wanted)]
        lines += [f"{name}: in the input, not in the dataset" for name in sorted(wanted - known)]
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
        """Checks that everything in the folder was made for the same dataset.

        Raises:
            UserError: As `begin`.
        """
        begun = sorted((self._work / "shards").glob("*.json"))
        if (self.output / MANIFEST_FILE).exists():
            begun.append(self.output / MANIFEST_FILE)
        for file in begun:
            refuse(self.output, Manifest.from_json(file.read_text()).differences(manifest))
        if not begun and self.output.exists() and (not self.output.is_dir() or _holds_something(self.output)):
            raise UserError(f"{self.output} is not empty and holds no dataset: choose another output folder")

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
        return self._group(group) / plan.source.split / f"{plan.clip_id}.npz"

    def look_path(self, group: int, plan: ClipPlan) -> Path:
        """Where the look at a clip lies, if there is one."""
        return self._group(group) / plan.source.split / f"{plan.clip_id}.json"

    def looks(self) -> list[Path]:
        """All looks there are, in order."""
        return sorted(self._work.glob("*/*/*.json"))

    def _group(self, group: int) -> Path:
        return self._work / f"{group:06d}"


def _holds_something(folder: Path) -> bool:
    """Whether there is more in a folder than a call leaves that was killed at its very beginning."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return visible not in ([], [folder / WORK_FOLDER]) or any((folder / WORK_FOLDER).glob("*/plan.json"))


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


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(value))


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
