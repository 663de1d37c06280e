"""What pages and config docstrings tell the reader to type: commands and blocks of Python, taken apart."""

import ast
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(python -m [^`]+|bash launch/[^`]+)`")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line as a reader types it.

    Attributes:
        place: The file it stands in.
        words: Its words, without comments.
        partial: Whether dots stand for flags that are left out.
    """

    place: str
    words: tuple[str, ...]
    partial: bool

    def __str__(self) -> str:
        return f"{self.place}: {shlex.join(self.words)}"


def blocks(path: Path, language: str) -> list[str]:
    """The blocks of a page in a language."""
    return [text for name, text in _BLOCK.findall(path.read_text()) if name == language]


def commands() -> Iterator[Command]:
    """Every command of pages, in blocks and in lines, and of the docstrings of configs."""
    for path in PAGES:
        for block in blocks(path, "bash"):
            yield from _commands(path, block, everything=True)
        for text in _INLINE.findall(path.read_text()):
            yield from _commands(path, text.replace("\n", " "), everything=False)
    for path in CONFIGS:
        yield from _commands(path, ast.get_docstring(ast.parse(path.read_text())) or "", everything=False)


def _commands(path: Path, text: str, *, everything: bool) -> Iterator[Command]:
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not everything and not re.match(r"\s*(python -m|bash launch/|sbatch) ?", line):
            continue
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if words:
                place = path.relative_to(ROOT).as_posix()
                # A line of prose names a command, a docstring's further lines what is added to it.
                partial = "..." in words or (not everything and len(words) <= 3)
                yield Command(place, tuple(word for word in words if word != "..."), partial)
