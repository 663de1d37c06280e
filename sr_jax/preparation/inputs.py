"""The videos a user hands in: finding them, checking all of them before any work, and planning the clips."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sr_jax.data import video
from sr_jax.errors import UserError
from sr_jax.teachers.base import DepthTeacher
from sr_jax.teachers.depth import PrecomputedDepth, depth_path

SPLITS = ("train", "test")
_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


@dataclasses.dataclass(frozen=True)
class Source:
    """One video of the input.

    Attributes:
        path: The video file.
        split: "train" or "test".
        name: Path below the split's folder without suffix, with "__" for "/".
        prompt: The caption.
        labels: What the `.json` file beside the video says; kept for evaluation, never read by training.
        info: Length, rate and size.
        digest: Hash of the video, of its depth file, if there is one, and of the caption.
    """

    path: Path
    split: str
    name: str
    prompt: str
    labels: dict[str, Any]
    info: video.VideoInfo
    digest: str


@dataclasses.dataclass(frozen=True)
class ClipPlan:
    """One clip to make: frames `indices` `[F]` of `source`. `clip_id` is unique in its split."""

    clip_id: str
    source: Source
    indices: Int[np.ndarray, " f"]


def find_videos(folder: Path) -> list[tuple[str, Path, str]]:
    """Split, path and name (see `Source`) of every video in a folder, at any depth, in order of split and name.

    Folders `train` and `test` in `folder`, where there are any, are the splits; otherwise everything is `train`.

    Raises:
        UserError: When the folder is missing or has no video, a split has none, two videos share a name, or a depth
            file has no video beside it.
    """
    if not folder.is_dir():
        raise UserError(f"no input folder {folder}")
    split_folders = {name: folder / name for name in SPLITS if (folder / name).is_dir()} or {"train": folder}
    found = []
    for split, root in split_folders.items():
        paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and _is_visible(path, root))
        if not paths:
            raise UserError(f"no video in {root}: expected files ending in {', '.join(_SUFFIXES)}")
        _check_depth_files_have_videos(root, paths)
        names = {}
        for path in paths:
            name = "__".join(path.relative_to(root).with_suffix("").parts)
            if name in names:
                raise UserError(f"{names[name]} and {path} have the same name: rename one of them")
            names[name] = path
        found += [(split, path, name) for name, path in sorted(names.items())]
    return found


def read_source(split: str, path: Path, name: str, *, default_prompt: str) -> Source:
    """Reads all that is needed to plan a video's clips, decoding it once from end to end.

    Args:
        split: The split's name.
        path: The video file. `<stem>.txt` beside it holds the caption, `<stem>.json` the labels.
        name: See `Source`.
        default_prompt: The caption of a video without a caption file; with "" such a video is an error.

    Raises:
        UserError: When the video cannot be read, or its caption or labels are missing or malformed.
    """
    info = video.scan_video(path)
    prompt = _read_prompt(path, default_prompt)
    digest = hashlib.sha256(prompt.encode())
    for file in (path, depth_path(path)):
        if file.is_file():
            digest.update(file.read_bytes())
    return Source(path, split, name, prompt, _read_labels(path), info, digest.hexdigest()[:16])


def check_depth(source: Source, depth: DepthTeacher) -> None:
    """Checks what can be known of a video's depth before any work: files that hold it.

    Raises:
        UserError: When the video's depth file is missing, unreadable, or of another length or size than the video.
    """
    if isinstance(depth, PrecomputedDepth):
        info = source.info
        # Only the shape of the frames matters here: this one takes no memory.
        frames = np.broadcast_to(np.uint8(0), (info.num_frames, info.height, info.width, 3))
        depth(frames, info.fps, source.path)


def plan_clips(source: Source, *, fps: float, clip_frames: int, stride: int) -> list[ClipPlan]:
    """The clips of one video; see `video.clip_indices`.

    Raises:
        UserError: When the video is shorter than one clip.
    """
    info = source.info
    clips = video.clip_indices(info.num_frames, info.fps, fps=fps, clip_frames=clip_frames, stride=stride)
    if not clips:
        raise UserError(
            f"{source.path} is too short: {info.num_frames} frames at {info.fps:g} frames a second, but one clip is "
            f"{clip_frames} frames at {fps:g}"
        )
    return [ClipPlan(f"{source.name}-{indices[0]:05d}", source, indices) for indices in clips]


def check_input(
    folder: Path,
    *,
    depth: DepthTeacher,
    default_prompt: str,
    fps: float,
    clip_frames: int,
    stride: int,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[ClipPlan]:
    """Finds and checks every video of `folder` and plans all clips, in a fixed order. Nothing is written.

    Args:
        folder: See `find_videos`.
        depth: The depth teacher, to check its files.
        default_prompt: See `read_source`.
        fps: Frames a second of the clips.
        clip_frames: Frames of a clip.
        stride: Frames from one clip's start to the next one's.
        progress: Wraps the list of videos, to show a bar.

    Raises:
        UserError: For the first bad input.
    """
    plans = []
    for split, path, name in progress(find_videos(folder)):
        source = read_source(split, path, name, default_prompt=default_prompt)
        plans += plan_clips(source, fps=fps, clip_frames=clip_frames, stride=stride)
        check_depth(source, depth)
    return plans


def _is_visible(path: Path, root: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)


def _check_depth_files_have_videos(root: Path, paths: Sequence[Path]) -> None:
    expected = {depth_path(path) for path in paths}
    for file in sorted(root.rglob("*.depth.npz")):
        if _is_visible(file, root) and file not in expected:
            raise UserError(f"{file} has no video beside it: the video is missing")


def _read_prompt(path: Path, default: str) -> str:
    file = path.with_suffix(".txt")
    try:
        prompt = " ".join(file.read_text(encoding="utf-8").split()) if file.is_file() else default
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text") from error
    if not prompt:
        raise UserError(f"no caption for {path}: write one to {file} or set config.default_prompt")
    return prompt


def _read_labels(path: Path) -> dict[str, Any]:
    file = path.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    if not isinstance(labels, dict):
        raise UserError(f"{file} must hold a JSON object")
    return labels
