"""Arrays in `.npz` files, read one entry after the other: those of a video may be larger than the memory."""

import zipfile
from collections.abc import Callable, Iterator

import numpy as np


def array_header(member: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in numpy's format, whose values come next.

    Raises:
        ValueError: When it cannot be read entry by entry.
    """
    version = np.lib.format.read_magic(member)
    read: Callable = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
    shape, fortran, dtype = read(member)
    if fortran or dtype.hasobject:
        raise ValueError("cannot be read frame by frame")
    return shape, dtype


def array_entries(member: zipfile.ZipExtFile, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The entries along the first axis of an array whose header was read.

    Raises:
        ValueError: When the file ends before the array does.
    """
    size = int(np.prod(shape[1:]))
    for _ in range(shape[0]):
        yield np.frombuffer(member.read(size * dtype.itemsize), dtype).reshape(shape[1:])
