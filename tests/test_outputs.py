from pathlib import Path

import pytest

from sr_jax.errors import UserError
from sr_jax.outputs import remove_leftovers, replacing, require_writable, writing_to


def test_what_cannot_be_a_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for name in ("file", "file/deep/er"):
        with pytest.raises(UserError, match=rf"cannot write to .*{name}: .*/file is not a folder"):
            require_writable(tmp_path / name)
    require_writable(tmp_path / "new" / "er")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=rf"cannot write to new: {tmp_path} may not be written into"):
        require_writable(Path("new"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_the_system_answers_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"cannot write to out: .*Not a directory: .*file/deep"),
        writing_to(Path("out")),
    ):
        (tmp_path / "file" / "deep").mkdir()


def test_a_file_is_replaced_by_the_last_complete_writer(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("the one")
        other.write_text("the oth")
        assert not path.exists()
        with pytest.raises(RuntimeError), replacing(path) as broken:
            broken.write_text("hal")
            raise RuntimeError
        with replacing(path) as between:
            between.write_text("between")
        assert path.read_text() == "between"
        other.write_text("the other")
    assert path.read_text() == "the one"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    left = replacing(tmp_path / "deep" / "a.npz")
    (tmp_path / "deep").mkdir()
    left.__enter__().touch()
    for name in ("a.tmp", ".hidden"):
        (tmp_path / "deep" / name).touch()
    assert len(list((tmp_path / "deep").iterdir())) == 3
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [".hidden", "a.tmp"]
