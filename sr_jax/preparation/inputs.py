"""The files a user hands in: finding the videos, and what lies beside each."""

import dataclasses
import difflib
import hashlib
import json
import mimetypes
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sr_jax.errors import UserError
from sr_jax.media.decoding import is_video
from sr_jax.media.frame_folders import is_frame_folder
from sr_jax.media.images import is_still_image
from sr_jax.preparation.captions import Captions
from sr_jax.preparation.text_files import files_of, has_suffix, read_text
from sr_jax.teachers.beside import described_stem, files_beside

SPLITS = ("train", "test")
# What may lie beside a video besides what teachers read: its caption and its labels.
_CAPTION, _LABELS = ".txt", ".json"
FROM_FILE, FROM_TABLE, FROM_DEFAULT = "beside the video", "in the table", "config.default_prompt"
"""Where a caption comes from."""
INSTEAD_OF_TABLE = f"{FROM_FILE}, where the table has another one"
"""Likewise: a file beside a video counts more."""
# A file is told from another of the same size by this much of its beginning and of its end.
_COMPARED_BYTES = 1 << 20
# A clip's name becomes a file's name, which has at most 255 bytes.
_MOST_BYTES = 180


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A file of the input that is a video or a still image, or that cannot be one.

    Attributes:
        path: The file, or a folder of frames.
        split: "train" or "test"; "" for a file that lies beside these folders.
        name: Path below the split's folder without suffix, with "__" for "/"; unique in its split, if it has no
            problem.
        problem: Why it cannot be used, as far as that is known without reading it; otherwise empty.
        claims_video: Whether its name claims that it is one. A file that neither claims nor is one stops nothing.
        still: Whether it is a still image.
    """

    path: Path
    split: str
    name: str
    problem: str = ""
    claims_video: bool = True
    still: bool = False


@dataclasses.dataclass(frozen=True)
class Source:
    """One video or still image of the input, as its records describe it.

    Attributes:
        path: The file.
        split: "train" or "test".
        name: See `FoundFile`.
        prompt: The caption.
        labels: What the `.json` file beside the video says; kept for evaluation, never read by training.
        prompt_from: Where the caption comes from, such as `FROM_FILE`.
        still: Whether it is a still image.
    """

    path: Path
    split: str
    name: str
    prompt: str
    labels: dict[str, Any]
    prompt_from: str = ""
    still: bool = False


def find_videos(
    folder: Path,
    ignored: frozenset[Path] = frozenset(),
    teachers: Collection[str] = ("depth",),
    frame_folders: bool = False,
    still_images: bool = False,
) -> list[FoundFile]:
    """Every video in a folder, at any depth, in order of split and name, and every file that cannot be used.

    Folders `train` and `test` in `folder`, where there are any, are the splits, and what lies beside them cannot be
    used; otherwise everything is `train`. What is a video is told by content. Hidden files are passed over, and so are
    captions, labels, and arrays that are called after a video, whether a teacher reads them or not.

    Args:
        folder: Where to look.
        ignored: Files that belong to no video, which are passed over.
        teachers: Names of the teachers that may read something beside videos; see `teachers.beside`.
        frame_folders: Whether a folder of nothing but pictures is a video.
        still_images: Whether any other picture is taken too, as if it were a video; those of the split "test", whose
            clips are generated, cannot be used.

    Raises:
        UserError: When the folder is missing, or a split has nothing that claims to be a video.
    """
    if not folder.is_dir():
        raise UserError(f"no input folder {folder}")
    split_folders = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    found, search = [], _Search(ignored, teachers, frame_folders, still_images)
    for split, root in (split_folders or {"train": folder}).items():
        files = list(_files(split, root, root, dataclasses.replace(search, searched=set())))
        if not any(file.claims_video for file in files):
            raise UserError(f"no video in {root}")
        found += _without_namesakes(sorted(files, key=lambda file: (file.name, file.path)))
    return found + (_beside(folder, split_folders, search) if split_folders else [])


def read_source(file: FoundFile, captions: Captions, default_prompt: str) -> Source:
    """Reads what lies beside a video.

    Args:
        file: The video. `<stem>.txt` beside it holds the caption, `<stem>.json` the labels; either may also be called
            after the whole name of the video (`a.mp4.txt`), and its suffix be written in upper case.
        captions: Captions of videos without a caption file.
        default_prompt: The caption of a video without any; with "" such a video is an error.

    Raises:
        UserError: When its caption or labels are missing or malformed, or there are two of them that differ.
    """
    prompt, prompt_from = _prompt(file.path, captions, default_prompt)
    return Source(file.path, file.split, file.name, prompt, _labels(file.path), prompt_from, file.still)


def digest(file: FoundFile, prompt: str, teachers: Collection[str] = ("depth",)) -> str:
    """Tells whether a video, what lies beside it or its caption changed; cheap even for a long video."""
    state = hashlib.sha256(prompt.encode())
    beside = [path for name in teachers for path in files_beside(file.path, name)]
    parts = []
    for path in (file.path, *files_of(file.path, _LABELS), *beside):
        parts += sorted(path.iterdir()) if path.is_dir() else [path]
    for part in parts:
        if part.is_file():
            _add_file(state, part)
    return state.hexdigest()[:16]


def _add_file(state: Any, path: Path) -> None:
    size = path.stat().st_size
    state.update(f"{path.name}/{size}/".encode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        state.update(file.read(_COMPARED_BYTES))
        file.seek(max(_COMPARED_BYTES, size - _COMPARED_BYTES))
        state.update(file.read())


@dataclasses.dataclass(frozen=True)
class _Search:
    """What a search takes, and what it leaves out: files, what teachers read beside videos, folders searched before."""

    ignored: frozenset[Path]
    teachers: Collection[str]
    frame_folders: bool
    still_images: bool
    searched: set[tuple[int, int]] = dataclasses.field(default_factory=set)


def _beside(folder: Path, split_folders: dict[str, Path], search: _Search) -> list[FoundFile]:
    """Every file beside the folders of the splits: it may be in neither split, or in another than was meant."""
    text = f"lies beside {' and '.join(split_folders)}: move it into the folder train or test, or out of {folder}"
    searched = {_identity(root) for root in split_folders.values()}
    ignored = search.ignored | frozenset(split_folders.values())
    search = dataclasses.replace(search, ignored=ignored, frame_folders=False, searched=searched)
    files = _files("", folder, folder, search)
    return [dataclasses.replace(file, problem=f"{file.path} {text}") for file in files]


def _identity(folder: Path) -> tuple[int, int]:
    """Tells whether two folders are one."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _files(split: str, folder: Path, root: Path, search: _Search) -> Iterator[FoundFile]:
    def problem(path: Path, text: str, claims_video: bool = True) -> FoundFile:
        return FoundFile(path, split, _name(path, root), text, claims_video)

    try:
        identity = _identity(folder)
        visible = (path for path in folder.iterdir() if not path.name.startswith("."))
        entries = sorted(path for path in visible if path not in search.ignored)
    except OSError as error:
        yield problem(folder, f"cannot open the folder {folder}: {error.strerror}")
        return
    # Links may lead in circles.
    if identity in search.searched:
        yield problem(folder, f"{folder} is a link to a folder that was searched already")
        return
    search.searched.add(identity)
    stems = {path: described_stem(path, search.teachers) for path in entries}
    frames = {path for path in entries if search.frame_folders and _holds_frames(path)}
    # What may have something beside it: no folder of further videos.
    described = [path for path in entries if not _describes(path) and stems[path] is None]
    described = [path for path in described if path in frames or not path.is_dir()]
    known = {path.stem for path in described}
    names = known | {path.name for path in described}
    for path in entries:
        if (stem := stems[path]) is not None:
            if stem not in known:
                yield problem(path, f"{path} has no video beside it: the video is missing")
        elif path in frames:
            yield FoundFile(path, split, _name(path, root))
        elif path.is_dir():
            yield from _files(split, path, root, search)
        elif (_describes(path) and path.stem in names) or _is_array_of(path, known):
            continue
        elif path.is_symlink() and not path.exists():
            yield problem(path, f"{path} is a link that leads to no file")
        elif path.is_file():
            yield _file(path, split, _name(path, root), names, still_images=search.still_images)


def _file(path: Path, split: str, name: str, names: Collection[str], *, still_images: bool) -> FoundFile:
    """What a file is, told by its content.

    Args:
        path: The file.
        split: See `FoundFile`.
        name: Likewise.
        names: Names and stems of the files in its folder that may have a caption.
        still_images: See `find_videos`.
    """
    if still_images and is_still_image(path):
        generated = f"{path} is a still image, and clips of the split test are generated: move it into the folder train"
        return FoundFile(path, split, name, generated if split == "test" else "", still=True)
    claimed = (mimetypes.guess_type(path.name)[0] or "").split("/")[0]
    if claimed == "video" or is_video(path):
        return FoundFile(path, split, name)
    if _describes(path):
        nearest = difflib.get_close_matches(path.stem, sorted(names), n=1)
        meant = f": is it of {nearest[0]}?" if nearest else ""
        return FoundFile(path, split, name, f"{path} lies beside no video of its name{meant}", claims_video=False)
    if still_images and claimed == "image":
        return FoundFile(path, split, name, f"{path} is an image that cannot be read, or one of several pictures")
    return FoundFile(path, split, name, f"{path} is no video", claims_video=False)


def _holds_frames(path: Path) -> bool:
    """Whether a path is a folder of frames, as far as it may be read."""
    try:
        return path.is_dir() and is_frame_folder(path)
    except OSError:
        return False


def _name(path: Path, root: Path) -> str:
    """Names a video; see `FoundFile`."""
    relative = path.relative_to(root)
    raw = os.fsencode("__".join((relative.with_suffix("") if relative.name else relative).parts))
    name = raw.decode("utf-8", "backslashreplace")
    name = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in name)
    if len(name.encode()) > _MOST_BYTES:
        short = name.encode()[:_MOST_BYTES].decode("utf-8", "ignore")
        name = f"{short}-{hashlib.sha256(raw).hexdigest()[:8]}"
    return name


def _without_namesakes(files: list[FoundFile]) -> Iterator[FoundFile]:
    """The files, of which those whose name an earlier one has get a problem."""
    first: dict[str, Path] = {}
    for file in files:
        if not file.problem and first.setdefault(file.name, file.path) != file.path:
            text = f"{first[file.name]} and {file.path} have the same name: rename one of them"
            file = dataclasses.replace(file, problem=text)
        yield file


def _describes(path: Path) -> bool:
    """Whether a file is called as captions and labels are."""
    return has_suffix(path, _CAPTION) or has_suffix(path, _LABELS)


def _is_array_of(path: Path, stems: Collection[str]) -> bool:
    """Whether a file is called as arrays of one of these videos are: `video.parts.npz`, which nothing here reads."""
    return path.suffix == ".npz" and Path(path.stem).stem in stems and path.is_file()


def _text_beside(video: Path, suffix: str) -> tuple[Path, str] | None:
    """The file with this suffix that belongs to a video, and its text; None where there is none."""
    found = [(path, read_text(path)) for path in files_of(video, suffix)]
    for path, text in found[1:]:
        if text.split() != found[0][1].split():
            raise UserError(f"{found[0][0]} and {path.name} are both of {video.name} and differ: leave one")
    return found[0] if found else None


def _prompt(path: Path, captions: Captions, default: str) -> tuple[str, str]:
    """The caption of a video, and where it comes from."""
    beside, listed = _text_beside(path, _CAPTION), captions.texts.get(path, "")
    written = " ".join(beside[1].split()) if beside else ""
    if written:
        return written, INSTEAD_OF_TABLE if listed not in ("", written) else FROM_FILE
    if listed:
        return listed, FROM_TABLE
    prompt = " ".join(default.split())
    if not prompt:
        raise UserError(
            f"no caption for {path}: write one to {path.with_suffix(_CAPTION)} or set config.default_prompt"
        )
    return prompt, FROM_DEFAULT


def _labels(path: Path) -> dict[str, Any]:
    beside = _text_beside(path, _LABELS)
    if beside is None:
        return {}
    file, text = beside
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    if not isinstance(labels, dict):
        raise UserError(f"{file} must hold a JSON object")
    return labels
