"""What other programs call a transformer's layers, and where they keep several of ours in one."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one layer lies in the files of another program.

    Attributes:
        name: What the layer, or the one that it is a part of, is called there.
        parts: Which of `of` equal parts of that layer's outputs are ours, in our order.
        of: Parts of that layer's outputs; 1: the layer is ours alone.
    """

    name: str
    parts: tuple[int, ...] = (0,)
    of: int = 1

    def rows(self, outputs: int) -> np.ndarray:
        """The rows of their layer, of so many, that are ours: indices in our order."""
        return np.arange(outputs).reshape(self.of, -1)[list(self.parts)].ravel()


Names = Mapping[str, Place]
"""One program's names, by diffusers' names; `{}` stands for the number of a block in both."""


def place_of(names: Names, layer: str) -> Place:
    """Where a layer of diffusers' name lies in another program's files; under the same name where nothing is said."""
    number = _NUMBER.search(layer)
    if number is None:
        return names.get(layer, Place(layer))
    pattern = f"{layer[: number.start()]}{{}}{layer[number.end() :]}"
    place = names.get(pattern, Place(pattern))
    return dataclasses.replace(place, name=place.name.format(number.group()))
