"""Tables of captions: every caption is used as it is given, or the row is named, or the table is refused."""

import csv
import io
import json
import tempfile
from pathlib import Path

import hypothesis.strategies as st

from sr_jax.errors import UserError
from sr_jax.preparation.captions import CaptionTable
from sr_jax.preparation.text_files import read_text
from tests.fuzz.base import Property, refusal

_VIDEOS = ("train/a.mp4", "train/b.webm", "train/sub/c.mp4", "test/a.mp4", "test/caf\u00e9 1.mov")
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")
# The letters that tables and paths are made of, so that more than noise comes out.
_PIECES = [
    *(*_VIDEOS, "a", "a woman", "caf\u00e9", "\u4eba", "\u2028", " ", "./", "../", "\\", "/", "\0", ";"),
    *("file,caption\n", '"', ",", "\n", "\r\n", "\r"),
    *('{"file": "', '", "caption": "', '"}', "\\u0000", "\\ud800", "[", "{", "null"),
]
_TABLE_TEXT = st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=25).map("".join)
_PATH_PARTS = st.sampled_from(["..", ".", "a.mp4", "b.webm", "train", "videos", "", "C:", "~", "etc"])
_CAPTION = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from(list(' ",\n\r\t')), max_size=30)
_SPELLINGS = {
    "plain": lambda name: name,
    "dot": lambda name: f"./{name}",
    "back-slashes": lambda name: name.replace("/", "\\"),
    "spaces": lambda name: f" {name} ",
    "without ending": lambda name: name.rsplit(".", 1)[0],
    "with the folder": lambda name: f"videos/{name}",
    "around": lambda name: f"test/../{name}",
}


def _match(name: str, data: bytes):
    """The table that a file of these bytes is, and what it says of the videos."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "videos"
        folder.mkdir()
        (folder / name).write_bytes(data)
        table = CaptionTable.read(name, folder)
        captions = table.match(folder, [folder / video for video in _VIDEOS])
        texts = {path.relative_to(folder).as_posix(): text for path, text in captions.texts.items()}
        return table, texts, captions.unused


def _nothing_is_lost(example: tuple[str, str, str, bytes]) -> None:
    """Of any bytes: each row is used or named, and what is used is the caption of a row."""
    name, text, encoding, tail = example

    def check() -> None:
        table, texts, unused = _match(name, text.encode(encoding, "replace") + tail)
        assert texts.keys() <= set(_VIDEOS)
        written = [" ".join(row.caption.split()) for row in table.rows]
        assert all(text and text in written for text in texts.values())
        named = [row for row in table.rows if any(f"line {row.line} {row.file!r}" in line for line in unused)]
        assert len(named) >= len(unused)
        used = {text for row, text in zip(table.rows, written, strict=True) if text and row not in named}
        assert used == set(texts.values())

    refusal(check)


def _what_is_written_is_read(example: tuple[dict[str, str], str, str, str, bool]) -> None:
    """Of a table that a program writes: exactly the captions that were meant, in any spelling of the paths."""
    captions, spelling, encoding, kind, quoted = example
    rows = [(_SPELLINGS[spelling](name), caption) for name, caption in captions.items()]
    if kind == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writerows([("file", "caption"), *rows])
        data = text.getvalue().encode(encoding)
    else:
        lines = [json.dumps({"file": name, "caption": caption}, ensure_ascii=quoted) for name, caption in rows]
        data = "\n".join(lines).encode(encoding)
    try:
        _, texts, unused = _match(f"captions{kind}", data)
    except UserError as error:
        # UTF-16 without a mark cannot always be told.
        assert encoding in ("utf-16-le", "utf-16-be") and "text" in str(error)
        return
    wanted = {name: " ".join(caption.split()) for name, caption in captions.items()}
    assert (texts, unused) == ({name: caption for name, caption in wanted.items() if caption}, ())


def _paths_do_not_escape(path: str) -> None:
    """A row means a video of the input or none, wherever its path leads."""
    line = json.dumps({"file": path, "caption": "one"})

    def check() -> None:
        _, texts, unused = _match("captions.jsonl", f'{{"file": "train/b.webm", "caption": "two"}}\n{line}'.encode())
        assert texts.keys() <= set(_VIDEOS) and len(texts) + len(unused) >= 1
        if ".." in Path(path).parts[:1]:
            assert len(unused) == 1

    refusal(check)


def _text_is_text(data: bytes) -> None:
    """What is read holds no control characters, and its words are those of the file in one of the encodings."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.txt"
        path.write_bytes(data)

        def check() -> None:
            text = read_text(path)
            assert not any(letter < " " and not letter.isspace() for letter in text)
            assert any(data in (text.encode(name), _MARK.get(name, b"") + text.encode(name)) for name in _ENCODINGS)

        refusal(check)


_MARK = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
_TAILS = st.sampled_from([b""]) | st.binary(max_size=4)

PROPERTIES = [
    Property(
        "nothing is lost",
        st.tuples(st.sampled_from(["c.csv", "c.jsonl"]), _TABLE_TEXT, st.sampled_from(_ENCODINGS), _TAILS),
        _nothing_is_lost,
    ),
    Property(
        "nothing of a csv is lost",
        st.tuples(
            st.just("c.csv"),
            _TABLE_TEXT.map(lambda text: f"file,caption\ntrain/b.webm,two\n{text}"),
            st.just("utf-8"),
            st.just(b""),
        ),
        _nothing_is_lost,
    ),
    Property(
        "what is written is read",
        st.tuples(
            st.dictionaries(st.sampled_from(_VIDEOS), _CAPTION, min_size=1),
            st.sampled_from(sorted(_SPELLINGS)),
            st.sampled_from(_ENCODINGS),
            st.sampled_from([".csv", ".jsonl"]),
            st.booleans(),
        ),
        _what_is_written_is_read,
    ),
    Property(
        "paths do not escape",
        st.lists(_PATH_PARTS, max_size=6).map("/".join) | st.text(max_size=10),
        _paths_do_not_escape,
    ),
    Property(
        "text is text",
        st.binary(max_size=30)
        | st.tuples(st.text(max_size=10), st.sampled_from(_ENCODINGS)).map(lambda x: x[0].encode(x[1], "replace")),
        _text_is_text,
    ),
]
