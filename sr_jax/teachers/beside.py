"""What lies beside a video for a teacher to read, one entry for each frame.

For a teacher that a config calls NAME, beside `video.mp4` may lie the folder `video.NAME` or one file such as
`video.NAME.npz`, an array, or `video.NAME.mkv`, a video.
"""

from collections.abc import Iterable
from pathlib import Path

# Nothing behind the name: a folder.
_ENDINGS = ("", ".npz", ".mkv", ".mp4", ".mov", ".avi", ".webm")


def files_beside(video: Path, name: str) -> list[Path]:
    """The files and folders that lie beside a video for the teacher of this name."""
    places = ((ending, video.with_suffix(f".{name}{ending}")) for ending in _ENDINGS)
    return [path for ending, path in places if (path.is_file() if ending else path.is_dir())]


def described_stem(path: Path, names: Iterable[str]) -> str | None:
    """The stem of the video that a file or folder lies beside for one of these teachers; None for any other name."""
    endings = [f".{name}{ending}" for name in names for ending in _ENDINGS]
    return next((path.name.removesuffix(ending) for ending in endings if path.name.endswith(ending)), None)
