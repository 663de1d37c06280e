"""Several datasets in one run: which, how often the clips of each come, and whether they belong together."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ml_collections

from sr_jax.data import builder
from sr_jax.data.faces import FaceCount
from sr_jax.data.records import Provenance
from sr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Datasets that are trained on together, and how often the clips of each come.

    Attributes:
        folders: Folders that `prepare` wrote; at least one.
        repeats: For each of them, how often each of its clips comes while those of a dataset of 1 come once; empty: 1.
        shares: For each of them, its part of all clips in the batches, in any unit; empty: it has as large a part as it
            has clips, repeats counted.

    Raises:
        UserError: For a folder that is named twice, repeats and shares at once, or not as many of these as folders.
    """

    folders: tuple[Path, ...]
    repeats: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()

    def __post_init__(self):
        if self.repeats and self.shares:
            raise UserError("config.data has repeats and shares: give one of them, and leave the other empty")
        for name, values in (("repeats", self.repeats), ("shares", self.shares)):
            if values and len(values) != len(self.folders):
                raise UserError(
                    f"config.data.{name} has {len(values)} numbers for {len(self.folders)} datasets: give one for "
                    "config.data.dir and one for each of config.data.more_dirs"
                )
        for folder in self.folders:
            if self.folders.count(folder) > 1:
                raise UserError(f"config.data names {folder} twice: to have its clips come twice, use data.repeats")

    @classmethod
    def of(cls, section: ml_collections.ConfigDict) -> "Mixture":
        """The mixture of a config's `data` section."""
        folders = (Path(section.dir), *map(Path, section.more_dirs))
        return cls(folders, *(tuple(map(float, numbers)) for numbers in (section.repeats, section.shares)))

    @classmethod
    def alone(cls, data: "Mixture | Path | str") -> "Mixture":
        """A mixture as it is, and a folder as one of its own."""
        return data if isinstance(data, Mixture) else cls((Path(data),))

    def factors(self, clips: Sequence[int]) -> list[float]:
        """For each dataset how often each of its clips comes, in proportion; 1 for each unless something else is said.

        Args:
            clips: How many each dataset has.
        """
        if not self.shares:
            return list(self.repeats or [1.0] * len(clips))
        # So that all datasets together have as many clips as without shares.
        each = sum(clips) / sum(self.shares)
        return [each * share / count for share, count in zip(self.shares, clips, strict=True)]


def read_provenance(mixture: Mixture) -> Provenance:
    """What made all datasets of a mixture, with the shapes of all of their clips.

    Of teachers of further fields, it names those that every dataset has; seeds of noise may differ, and are the first
    one's.

    Raises:
        UserError: When there is no dataset in a folder, or two of them were made with another codec, teacher, rate or
            number of noisy images, or have captions of other lengths: the first difference.
    """
    first, *others = mixture.folders
    made = {folder: builder.read_provenance(folder) for folder in mixture.folders}
    common = set.intersection(*(set(item.teachers) for item in made.values()))
    for folder in others:
        # Differences name the dataset that is not as it should be: the later one.
        differences = _comparable(made[folder], common).differences(_comparable(made[first], common))
        tokens = [_caption_tokens(each) for each in (folder, first)]
        if tokens[0] != tokens[1]:
            differences.append(f"text.num_tokens: dataset has {tokens[0]}, expected {tokens[1]}")
        if differences:
            raise UserError(
                f"{folder} cannot be trained on together with {first}: {differences[0]}; prepare one like the other"
            )
    shapes = [shape for item in made.values() for shape in item.shapes]
    whole = made[first] if set(shapes) == set(made[first].shapes) else made[first].of_shapes(shapes)
    return dataclasses.replace(
        whole, teachers={name: whole.teachers[name] for name in whole.teachers if name in common}
    )


def read_faces(mixture: Mixture) -> dict[str, FaceCount]:
    """How many clips of each split have a face, over all datasets, each clip once; {} unless every one counted them.

    Raises:
        UserError: When there is no dataset in a folder.
    """
    total: dict[str, FaceCount] = {}
    for counts in map(builder.read_faces, mixture.folders):
        if not counts:
            return {}
        total |= {split: total.get(split, FaceCount()) + count for split, count in counts.items()}
    return total


def _comparable(made: Provenance, teachers: set[str]) -> Provenance:
    """What of a provenance must be equal: with these teachers alone."""
    unsized = made.unsized()
    return dataclasses.replace(
        unsized,
        teachers={name: made.teachers[name] for name in teachers},
        clip={name: value for name, value in unsized.clip.items() if name != "seed"},
    )


def _caption_tokens(folder: Path) -> int:
    return builder.read_spec(builder.dataset_folders(folder)[0]).text_shape[0]
