"""Every caption that is given is used or named."""

import codecs
import json

import pytest

from sr_jax.errors import UserError
from sr_jax.preparation import inputs
from sr_jax.preparation.captions import Captions, CaptionTable
from sr_jax.preparation.text_files import read_text
from tests.preparation import fakes

_VIDEOS = ("train/a.mp4", "train/b.webm", "train/sub/c.mp4", "test/a.mp4", "test/d.e.mov")


@pytest.fixture
def folder(tmp_path):
    for name in _VIDEOS:
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path / "videos"


def _match(folder, text, name="captions.csv"):
    (folder / name).write_text(text)
    captions = CaptionTable.read(name, folder).match(folder, [folder / name for name in _VIDEOS])
    return {path.relative_to(folder).as_posix(): text for path, text in captions.texts.items()}, captions.unused


@pytest.mark.parametrize(
    ("given", "video"),
    [
        ("train/a.mp4", "train/a.mp4"),
        ("./train/a.mp4", "train/a.mp4"),
        ("train//sub/../a.mp4", "train/a.mp4"),
        (".\\train\\a.mp4", "train/a.mp4"),
        (" train/a.mp4 ", "train/a.mp4"),
        ("train/a", "train/a.mp4"),
        ("b.webm", "train/b.webm"),
        ("b", "train/b.webm"),
        ("sub\\c", "train/sub/c.mp4"),
        ("d.e", "test/d.e.mov"),
        ("videos/train/a.mp4", "train/a.mp4"),
        ("{folder}/train/a.mp4", "train/a.mp4"),
        ("{folder}/test/d.e", "test/d.e.mov"),
    ],
)
def test_a_row_names_a_video_in_many_ways(folder, given, video):
    name = given.replace("{folder}", str(folder))
    assert _match(folder, f"file,caption\n{name},a woman waves\n") == ({video: "a woman waves"}, ())


def test_a_path_along_a_link_is_the_video(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "c.csv").write_text(f"file,caption\n{folder}/train/a.mp4,one\n{tmp_path}/link/train/b.webm,two\n")
    link = tmp_path / "link"
    captions = CaptionTable.read(str(tmp_path / "c.csv"), link).match(link, [link / name for name in _VIDEOS])
    assert sorted(captions.texts.values()) == ["one", "two"] and not captions.unused


def test_letters_that_a_mac_takes_apart(tmp_path):
    (tmp_path / "cafe\u0301.mp4").touch()
    (tmp_path / "c.csv").write_text("file,caption\ncaf\u00e9.mp4,one\n")
    captions = CaptionTable.read("c.csv", tmp_path).match(tmp_path, [tmp_path / "cafe\u0301.mp4"])
    assert list(captions.texts.values()) == ["one"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("train/A.mp4", "line 3 'train/A.mp4' (the nearest is 'train/a.mp4')"),
        ("train/aa.mp4", "line 3 'train/aa.mp4' (the nearest is 'train/a.mp4')"),
        ("sub/c.mov", "line 3 'sub/c.mov' (the nearest is 'train/sub/c.mp4')"),
        ("valid/b.webm", "line 3 'valid/b.webm' (the nearest is 'train/b.webm')"),
        ("/elsewhere/videos/train/a.mp4", "line 3 '/elsewhere/videos/train/a.mp4' (the nearest is 'train/a.mp4')"),
        ("C:\\\\videos\\\\train\\\\a.mp4", "(the nearest is 'train/a.mp4')"),
        ("../videos/train/a.mp4", "(the nearest is 'train/a.mp4')"),
        ("train/../../a.mp4", "(the nearest is '"),
        ("nothing like it", "line 3 'nothing like it'"),
    ],
)
def test_a_row_that_names_no_video_is_told_with_the_nearest(folder, given, message):
    texts, unused = _match(folder, f"file,caption\nb.webm,two\n{given},one\n")
    assert texts == {"train/b.webm": "two"}
    assert len(unused) == 1 and message in unused[0]
    table = CaptionTable.read("captions.csv", folder)
    with pytest.raises(UserError, match=r"1 of 2 rows of .*captions\.csv name no video: line 3"):
        table.require_all_used(Captions({}, unused))


def test_a_table_of_other_videos_is_refused_whatever_is_passed_over(folder):
    with pytest.raises(UserError, match=r"no row of .*captions\.csv names a video below .*: line 2 'x\.avi'; line 3"):
        _match(folder, "file,caption\nx.avi,one\ny.avi,two\n")
    with pytest.raises(UserError, match="it has no rows"):
        _match(folder, "file,caption\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,one", r"line 2: 'a\.mp4' fits train/a\.mp4 and test/a\.mp4: give the folder too"),
        ("b.webm,a woman, smiling, waves", "line 2: 4 values in 2 columns: put a caption that holds commas in double"),
        ("b.webm", "line 2: 1 values in 2 columns"),
        ('b.webm,"a woman\nd.e,two', r"cannot read .*line 2: unexpected end of data: is a double quote not closed"),
        ('b.webm,"a woman\nd.e.mov,two\nc.mp4,"three"', "a double quote not closed"),
        ('b.webm,"a woman\nd.e.mov,two"', r"line 2: the caption goes on into the row of 'd\.e\.mov': close its quote"),
        ('b.webm,"a "red" shirt"', "is a double quote not closed"),
        ("b.webm,one\nd.e,two\ntrain/b.webm,three", r"lines 2 and 4: two captions of train/b\.webm: leave one"),
        (",one", "line 2 names no video"),
        ("b.webm,a\0b", "is no text: it holds the character"),
    ],
)
def test_rows_that_cannot_be_told_apart_or_read(folder, text, message):
    with pytest.raises(UserError, match=message):
        _match(folder, f"file,caption\n{text}\n")


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("video,caption", "needs the columns `file` and `caption`.* it has 'video', 'caption'"),
        ("file;caption", "with commas between them; it has 'file;caption'"),
        ("file,caption,caption", "each once"),
    ],
)
def test_columns_that_are_not_there(folder, first, message):
    with pytest.raises(UserError, match=message):
        _match(folder, f"{first}\nb.webm,x\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 1 needs an object"),
        ("{", "line 1: it is not JSON"),
        ('{"file": "b.webm"}', "needs `file` and `caption`, each once"),
        ('{"file": "b.webm", "caption": "x", "caption": "y"}', "needs `file` and `caption`, each once"),
        ('{"file": "b.webm", "caption": ["x"]}', "`caption` is .*'x'.*, which is no text"),
        ('{"file": "b.webm", "caption": "\\ud800"}', "holds the character"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_json_lines_that_are_no_rows(folder, line, message):
    with pytest.raises(UserError, match=message):
        _match(folder, f"{line}\n", "c.jsonl")


def test_a_table_that_is_not_there_or_of_another_kind(folder):
    (folder / "c.xml").touch()
    with pytest.raises(UserError, match=r"must be a \.csv or a \.jsonl file"):
        CaptionTable.read("c.xml", folder)
    with pytest.raises(UserError, match="no caption table"):
        CaptionTable.read("missing.csv", folder)
    assert CaptionTable.read("", folder).match(folder, []) == Captions()


def test_what_a_caption_may_hold(folder):
    text = (
        "fps, file ,caption\r\n"
        '8,train/a.mp4,"a man, who  ""waves"",\r\nand one more"\r\n'
        '\r\n8,b,he says "hi"\r\n8,d.e,\r\n8,b.webm, he  says "hi"\r\n'
    )
    captions = {"train/a.mp4": 'a man, who "waves", and one more', "train/b.webm": 'he says "hi"'}
    assert _match(folder, text) == (captions, ())
    line = '{"caption": "a\u2028man", "file": "b", "more": {"x": 1}}\n\n'
    assert _match(folder, line, "c.jsonl") == ({"train/b.webm": "a man"}, ())


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", pytest.param("utf-16-be mark", id="mark-be")]
)
def test_encodings_that_editors_save(tmp_path, encoding):
    text = "file,caption\na.mp4,un caf\u00e9 \u4eba\n"
    mark = codecs.BOM_UTF16_BE if "mark" in encoding else b""
    (tmp_path / "c.csv").write_bytes(mark + text.encode(encoding.split()[0]))
    assert read_text(tmp_path / "c.csv") == text
    (row,) = CaptionTable.read("c.csv", tmp_path).rows
    assert (row.line, row.file, row.caption) == (2, "a.mp4", "un caf\u00e9 \u4eba")


@pytest.mark.parametrize("data", ["caf\u00e9".encode("latin-1"), b"\xff\xfe\xff", "a\u4eba".encode("utf-32"), b"a\x01"])
def test_what_is_no_text(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.txt is no"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.Txt", "a.mp4.txt", "a.mp4.TXT"])
def test_a_caption_beside_a_video_in_any_spelling(tmp_path, name):
    fakes.write_source(tmp_path / "a.mp4")
    (tmp_path / "a.txt").rename(tmp_path / name)
    (plan,) = fakes.plan(tmp_path)
    assert (plan.source.prompt, plan.source.prompt_from) == ("a person", "beside the video")
    assert [file.problem for file in inputs.find_videos(tmp_path)] == [""]
    (tmp_path / "a.json").rename(tmp_path / "a.mp4.JSON")
    assert fakes.plan(tmp_path)[0].source.labels == {"identity": 0}


def test_two_captions_beside_a_video(tmp_path):
    fakes.write_source(tmp_path / "a.mp4")
    (tmp_path / "a.mp4.txt").write_text(" a  person")
    assert fakes.plan(tmp_path)[0].source.prompt == "a person"
    (tmp_path / "a.mp4.txt").write_text("somebody else")
    with pytest.raises(UserError, match=r"a\.txt and a\.mp4\.txt are both of a\.mp4 and differ: leave one"):
        fakes.plan(tmp_path)


def test_a_caption_beside_no_video_is_named_with_the_nearest(tmp_path):
    fakes.write_source(tmp_path / "walking.mp4")
    (tmp_path / "walkin.txt").write_text("a person walks")
    (problem,) = [file.problem for file in inputs.find_videos(tmp_path) if file.problem]
    assert problem == f"{tmp_path / 'walkin.txt'} lies beside no video of its name: is it of walking?"


def test_the_summary_says_where_captions_come_from(tmp_path):
    folder = tmp_path / "videos"
    for name in "abcd":
        fakes.write_source(folder / f"{name}.mp4", frames=10 if name == "a" else 5, prompt=f"{name} waves")
    for name in "ac":
        (folder / f"{name}.txt").unlink()
    (folder / "c.csv").write_text("file,caption\na,from the table\nb,another one\nd,d waves\n")
    table = CaptionTable.read("c.csv", folder)
    captions = table.match(folder, [folder / f"{name}.mp4" for name in "abcd"])

    class FourLetters(fakes.LetterText):
        def cut(self, prompt):
            return prompt[7:]

    planning = {"captions": captions, "default_prompt": "nobody", "cut": FourLetters().cut, "strict": False}
    summary = fakes.make(folder, tmp_path / "data", planning=planning)
    assert summary.prompts == {
        "in the table": 2,
        "beside the video, where the table has another one": 1,
        "beside the video": 1,
        "config.default_prompt": 1,
    }
    assert summary.cut_prompts == 2
    (line,) = [line for line in summary.lines() if line.startswith("captions:")]
    assert line == (
        "captions: in the table: 2, beside the video, where the table has another one: 1, config.default_prompt: 1, "
        "beside the video: 1"
    )
    assert any(line.startswith("captions cut: 2 clips (more tokens than") for line in summary.lines())
    outcomes = [json.loads(line) for line in (tmp_path / "data" / "videos.jsonl").read_text().splitlines()]
    assert {outcome["name"]: outcome["cut_prompt"] for outcome in outcomes if outcome["clips"]} == {
        "a": "e table",
        "b": "",
        "c": "",
        "d": "",
    }
