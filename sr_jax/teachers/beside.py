"""What lies beside a video for a teacher to read, one entry for each frame.

For a teacher that a config calls NAME, beside `video.mp4` may lie the folder `video.NAME` or one file such as
`video.NAME.npz`, an array, or `video.NAME.mkv`, a video. For depth it may also be what the program of Video Depth
Anything writes, under its names.
"""

from collections.abc import Iterable
from pathlib import Path

# Nothing behind the name: a folder.
_ENDINGS = ("", ".npz", ".mkv", ".mp4", ".mov", ".avi", ".webm")
VIDEO_DEPTH_ARRAY, VIDEO_DEPTH_FOLDER = "_depths.npz", "_depths_exr"
"""How the program of Video Depth Anything calls what it writes for `video.mp4`: `video_depths.npz` and so on."""
_PUBLISHED = {"depth": {VIDEO_DEPTH_ARRAY: False, VIDEO_DEPTH_FOLDER: True}}


def files_beside(video: Path, name: str) -> list[Path]:
    """The files and folders that lie beside a video for the teacher of this name."""
    places = ((video.with_name(f"{video.stem}{ending}"), folder) for ending, folder in _places(name).items())
    return [path for path, folder in places if (path.is_dir() if folder else path.is_file())]


def described_stem(path: Path, names: Iterable[str]) -> str | None:
    """The stem of the video that a file or folder lies beside for one of these teachers; None for any other name."""
    endings = [ending for name in names for ending in _places(name)]
    return next((path.name.removesuffix(ending) for ending in endings if path.name.endswith(ending)), None)


def _places(name: str) -> dict[str, bool]:
    """What may stand behind the stem of a video, and whether it is a folder."""
    return {f".{name}{ending}": not ending for ending in _ENDINGS} | _PUBLISHED.get(name, {})
