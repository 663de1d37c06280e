"""Text that users write: captions, labels and tables, in the encodings that editors save, and beside which video."""

import codecs
from pathlib import Path

from sr_jax.errors import UserError

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 as Windows saves it, with the mark of the byte order or without.

    Raises:
        UserError: When it is in another encoding, or no text.
        OSError: When it cannot be read.
    """
    data = path.read_bytes()
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (nor UTF-16): save it as UTF-8") from error
    check_text(text, str(path))
    return text


def check_text(text: str, where: str) -> None:
    """Checks that text can be written down again, and holds no bytes of something else.

    Raises:
        UserError: For control characters other than white space, and for halves of characters.
    """
    for letter in text:
        if (letter < " " and not letter.isspace()) or letter == "\x7f" or "\ud800" <= letter <= "\udfff":
            raise UserError(f"{where} is no text: it holds the character {letter!r}")


def files_of(video: Path, suffix: str) -> list[Path]:
    """The files with this suffix that belong to a video: `a.txt`, `a.TXT`, `a.mp4.txt` and so on beside `a.mp4`."""
    names = [f"{name}{ending}" for name in (video.stem, video.name) for ending in _spellings(suffix)]
    found: dict[tuple[int, int], Path] = {}
    for path in (video.with_name(name) for name in names):
        if path != video and path.is_file():
            status = path.stat()
            # Where upper and lower case are the same, one file is found several times.
            found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


def has_suffix(path: Path, suffix: str) -> bool:
    """Whether a file could be one of `files_of` some video."""
    return path.suffix in _spellings(suffix)


def _spellings(suffix: str) -> tuple[str, ...]:
    return suffix, suffix.upper(), f".{suffix[1:].title()}"


def _encoding(data: bytes) -> str:
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    # In UTF-16 every letter of ASCII has a byte that is 0, which no text in UTF-8 has; where, tells the byte order.
    if data.count(0) > len(data) // 4:
        return "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
    return "utf-8"
