"""Depth that was computed elsewhere, beside a video: arrays, pictures or a depth video, read frame by frame.

Beside `name.mp4` may lie one of

    name.depth.npz      `depth` or `disparity`, float `[F, H, W]`
    name.depth/         a folder of F grey .png files (8 or 16 bits) or .exr files, in the order of their names
    name.depth.mkv      a grey video (or .mp4, .mov, .avi, .webm)

with one entry for each frame of the video. `depth` is a distance along the viewing axis in any unit, `disparity` is
large where things are near, in any scale. What is in a file that cannot say which it is, the caller says.
"""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video
from sr_jax.teachers.beside import files_beside

KINDS = ("disparity", "depth")
_NAME = "depth"
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


def depth_frames(path: Path, kind: str = "disparity") -> Iterator[Disparity]:
    """Disparity of every frame in order, float32; 0 where depth is infinite.

    Args:
        path: What `find_depth` found.
        kind: What pictures and videos hold, "disparity" or "depth". A grey value of 0 is no depth: infinitely far.

    Raises:
        UserError: If something is unreadable or holds impossible values; possibly only after some frames.
    """
    if path.is_dir():
        return _folder_frames(path, kind)
    return _array_frames(path) if path.suffix == ".npz" else _video_frames(path, kind)


def _array_frames(path: Path) -> Iterator[Disparity]:
    if not path.is_file():
        raise UserError(f"no depth file {path}: put one beside the video or choose another depth teacher")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            kind = next((kind for kind in KINDS if f"{kind}.npy" in names), None)
            if kind is None:
                raise UserError(f"{path} has neither `depth` (metres) nor `disparity`")
            with archive.open(f"{kind}.npy") as member:
                shape, dtype = _array_header(member)
                if len(shape) != 3 or not np.prod(shape):
                    raise UserError(_bad_array(path))
                for _ in range(shape[0]):
                    values = np.frombuffer(member.read(shape[1] * shape[2] * dtype.itemsize), dtype)
                    yield _disparity(values.reshape(shape[1:]), kind, _bad_array(path))
    except UserError:
        raise
    # A damaged zip, a file of another kind and a pickle arrive as different built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path}: it must be an .npz file of plain arrays in C order") from error


def _array_header(member: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in numpy's format, whose values come next."""
    version = np.lib.format.read_magic(member)
    read: Callable = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
    shape, fortran, dtype = read(member)
    if fortran or dtype.hasobject:
        raise ValueError("cannot be read frame by frame")
    return shape, dtype


def _bad_array(path: Path) -> str:
    return f"{path} must hold [frames, height, width] of positive depth or finite disparity"


def _folder_frames(folder: Path, kind: str) -> Iterator[Disparity]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".exr"))
    if not files:
        raise UserError(f"{folder} holds no .png or .exr files")
    shape = None
    for file in files:
        values = _read_exr(file, kind) if file.suffix.lower() == ".exr" else _grey(_read_png(file), kind)
        if shape not in (None, values.shape):
            raise UserError(f"{file} has another size than {files[0].name}")
        shape = values.shape
        yield values


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
    message = f"{file} must hold positive depth or finite disparity"
    return _disparity(np.array(channels[name]), _EXR_CHANNELS.get(name, kind), message)


def _all_equal(arrays: list[np.ndarray]) -> bool:
    return all(np.array_equal(arrays[0], array) for array in arrays[1:])


def _video_frames(path: Path, kind: str) -> Iterator[Disparity]:
    with open_video(path) as video:
        for picture in video.pictures:
            yield _grey(picture.grey(), kind)


def _grey(values: np.ndarray, kind: str) -> Disparity:
    """Disparity of whole grey values, of which 0 means that there is no depth."""
    values = values.astype(np.float32)
    if kind == "disparity":
        return values
    return np.divide(1, values, out=np.zeros_like(values), where=values > 0)


def _disparity(values: np.ndarray, kind: str, message: str) -> Disparity:
    values = values.astype(np.float32)
    if kind == "disparity":
        good = np.isfinite(values).all()
    else:
        good = (values > 0).all()
        values = 1 / values if good else values
    if not good:
        raise UserError(message)
    return values
