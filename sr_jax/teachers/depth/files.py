"""Depth that was computed elsewhere, beside a video: arrays, pictures or a depth video, read frame by frame.

Beside `name.mp4` may lie one of

    name.depth.npz      `depth` or `disparity`, float `[F, H, W]`
    name.depth/         a folder of F grey .png files (8 or 16 bits) or .exr files, in the order of their names
    name.depth.mkv      a grey video (or .mp4, .mov, .avi, .webm)
    name_depths.npz     `depths`, float `[F, H, W]`, as the program of Video Depth Anything writes it
    name_depths_exr/    its folder of .exr files

with one entry for each frame of the video. `depth` is a distance along the viewing axis in any unit, `disparity` is
large where things are near, in any scale. What is in a file that does not say which it is, the caller says: grey
pictures and videos, and what Video Depth Anything writes, whose metric models use the same names.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.teachers.arrays import array_entries, array_header
from sr_jax.teachers.beside import VIDEO_DEPTH_FOLDER, files_beside

KINDS = ("disparity", "depth")
_NAME = "depth"
# What an array file may call its array; the last one may be of either kind.
_KEYS = {"disparity": "disparity", "depth": "depth", "depths": ""}
# Disparity beyond any scale: sums and differences of such values would leave float32.
_LARGEST = 1e30
_VALUES = "positive depth (of at least 1e-30, and infinite where there is none) or finite disparity (up to 1e30)"
# As of a video's frames: 8K.
_MOST_PIXELS = 7680 * 4320
# What renderers call the channel that holds distances.
_EXR_CHANNELS = {"Z": "depth", "depth": "depth", "Depth": "depth", "disparity": "disparity"}

Disparity = Float[np.ndarray, "h w"]


def depth_path(video: Path) -> Path:
    """Where the depth array of a video lies: `dir/name.mp4` has `dir/name.depth.npz`."""
    return video.with_suffix(f".{_NAME}.npz")


def find_depth(video: Path) -> Path | None:
    """The depth file or folder of a video, or None.

    Raises:
        UserError: When there is more than one.
    """
    found = files_beside(video, _NAME)
    if len(found) > 1:
        raise UserError(f"{video} has depth in both {found[0].name} and {found[1].name}: leave one")
    return found[0] if found else None


def depth_frames(path: Path, kind: str = "") -> Iterator[Disparity]:
    """Disparity of every frame in order, float32 and at most 1e30; 0 where depth is infinite.

    Args:
        path: What `find_depth` found.
        kind: What files hold that do not say it, "disparity" or "depth"; "" for not stated. A grey value of 0 is no
            depth: infinitely far.

    Raises:
        UserError: If something is unreadable, holds impossible values, or does not say its kind while that is not
            stated; possibly only after some frames.
    """
    if path.is_dir():
        return _folder_frames(path, kind)
    return _array_frames(path, kind) if path.suffix == ".npz" else _video_frames(path, kind)


def _stated(kind: str, path: Path) -> str:
    """The kind of what does not say it itself."""
    if not kind:
        raise UserError(
            f"{path} may hold disparity or depth, and does not say which: set depth.kind to disparity (what Video "
            "Depth Anything gives) or depth (distances, as its metric models give them)"
        )
    return kind


def _array_frames(path: Path, stated: str) -> Iterator[Disparity]:
    if not path.is_file():
        raise UserError(f"no depth file {path}: put one beside the video or choose another depth teacher")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            keys = [key for key in _KEYS if f"{key}.npy" in names]
            if not keys:
                raise UserError(f"{path} has neither `depth` (metres) nor `disparity` (nor `depths`)")
            if len(keys) > 1:
                raise UserError(f"{path} has both `{keys[0]}` and `{keys[1]}`: leave one")
            kind = _KEYS[keys[0]] or _stated(stated, path)
            with archive.open(f"{keys[0]}.npy") as member:
                shape, dtype = array_header(member)
                if len(shape) != 3 or min(shape) < 1 or dtype.kind not in "fiu":
                    raise UserError(f"{path} must hold [frames, height, width] of {_VALUES}")
                if shape[1] * shape[2] > _MOST_PIXELS:
                    raise UserError(f"{path} has depth of {shape[1]}x{shape[2]} pixels: no video is so large")
                for number, values in enumerate(array_entries(member, shape, dtype)):
                    yield _disparity(values, kind, f"frame {number} of {path}")
    except UserError:
        raise
    # A damaged zip, a file of another kind and a pickle arrive as different built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path}: it must be an .npz file of plain arrays in C order") from error


def _folder_frames(folder: Path, kind: str) -> Iterator[Disparity]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in (".png", ".exr")]
    # By their numbers, however many digits these have: 2 before 10.
    files.sort(key=_in_order)
    if not files:
        raise UserError(f"{folder} holds no .png or .exr files")
    shape = None
    for file in files:
        if file.suffix.lower() == ".exr":
            values = _read_exr(file, kind)
        else:
            values = _grey(_read_png(file), _stated(kind, folder))
        if shape not in (None, values.shape):
            raise UserError(f"{file} has another size than {files[0].name}")
        shape = values.shape
        yield values


def _in_order(path: Path) -> list[str | int]:
    """What to sort by: a name's text and numbers in turn."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", path.name))]


def _read_png(file: Path) -> np.ndarray:
    # Not `imread`, which cannot tell a name from a file that is no picture.
    pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED) if file.stat().st_size else None
    if pixels is None:
        raise UserError(f"cannot read {file}: it is no .png picture")
    if pixels.ndim != 2:
        raise UserError(f"{file} has colours: depth must be grey")
    return pixels


def _read_exr(file: Path, kind: str) -> Disparity:
    # An optional dependency: only this format needs it.
    try:
        import OpenEXR
    except ImportError as error:
        raise UserError('reading .exr files needs OpenEXR: pip install "sr_jax[exr]"') from error
    try:
        with OpenEXR.File(str(file), separate_channels=True) as picture:
            channels = {name: channel.pixels for name, channel in picture.channels().items()}
    # OpenEXR raises various built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {file}: it is no OpenEXR picture") from error
    known = [name for name in _EXR_CHANNELS if name in channels]
    if not known and len(channels) > 1 and not _all_equal(list(channels.values())):
        raise UserError(f"{file} has the channels {', '.join(sorted(channels))}: name the one with depth Z")
    name = known[0] if known else next(iter(channels))
    named = _EXR_CHANNELS.get(name, "")
    # Video Depth Anything puts into Z whatever it has.
    if not named or (name == "Z" and file.parent.name.endswith(VIDEO_DEPTH_FOLDER)):
        named = _stated(kind, file.parent)
    return _disparity(np.array(channels[name]), named, str(file))


def _all_equal(arrays: list[np.ndarray]) -> bool:
    return all(np.array_equal(arrays[0], array) for array in arrays[1:])


def _video_frames(path: Path, kind: str) -> Iterator[Disparity]:
    kind = _stated(kind, path)
    with open_video(path) as video:
        for picture in video.pictures:
            yield _grey(picture.grey(), kind)


def _grey(values: np.ndarray, kind: str) -> Disparity:
    """Disparity of whole grey values, of which 0 means that there is no depth."""
    values = values.astype(np.float32)
    if kind == "disparity":
        return values
    return np.divide(1, values, out=np.zeros_like(values), where=values > 0)


def _disparity(values: np.ndarray, kind: str, where: str) -> Disparity:
    with np.errstate(over="ignore", divide="ignore"):
        values = values.astype(np.float32)
        possible = kind == "disparity" or (values > 0).all()
        values = values if kind == "disparity" else 1 / values
    # Written so that NaN fails too.
    if not (possible and (np.abs(values) <= _LARGEST).all()):
        raise UserError(f"{where} must hold {_VALUES}")
    return values
