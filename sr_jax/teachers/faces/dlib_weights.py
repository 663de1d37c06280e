"""Reads the weights of dlib's face recognition network from dlib's own file format, without dlib.

In the file every layer is a length-prefixed name followed by its parameters, in the order from the input to the output.
An integer is one byte that tells how many bytes follow (its high bit is the sign), then those bytes, low byte first. A
parameter tensor is its version, four integers (its shape) and little-endian float32 values (dlib: `serialize.h`,
`tensor.h`). The file is data: nothing in it is executed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sr_jax.errors import UserError
from sr_jax.models.dlib_resnet import BLOCKS, EMBEDDING_DIM
from sr_jax.models.functional import Params

_LAYERS = (b"\x01\x05con_4", b"\x01\x07affine_", b"\x01\x04fc_2")


def read_dlib_resnet(path: Path) -> Params:
    """Reads `dlib_face_recognition_resnet_model_v1.dat` as parameters of `DlibResNet`.

    Args:
        path: The file.

    Returns:
        Parameters with each affine layer folded into the convolution before it.

    Raises:
        UserError: If the file does not hold this network.
    """
    stream = tensors(path.read_bytes())
    try:
        params: Params = {"stem": _folded(stream, 3, BLOCKS[0][0], 7), "blocks": {}}
        width_in = BLOCKS[0][0]
        for index, (width, _) in enumerate(BLOCKS):
            convs = {"conv_1": _folded(stream, width_in, width, 3), "conv_2": _folded(stream, width, width, 3)}
            params["blocks"][index] = convs
            width_in = width
        params["head"] = {"kernel": next(stream).reshape(width_in, EMBEDDING_DIM)}
    # A tensor of another size does not reshape; a file that ends early gives no next tensor.
    except (ValueError, StopIteration) as error:
        raise UserError(f"{path} is not dlib's face recognition network, version 1") from error
    return params


def tensors(data: bytes) -> Iterator[np.ndarray]:
    """Yields the parameters of each layer that has any, as flat float32 arrays, in the order of the file.

    Args:
        data: A network as dlib stores it.

    Raises:
        ValueError: When the data end inside a tensor.
    """
    position = 0
    while True:
        starts = [start for start in (data.find(name, position) for name in _LAYERS) if start >= 0]
        if not starts:
            return
        position = min(starts)
        name = next(name for name in _LAYERS if data.startswith(name, position))
        position += len(name)
        # A fully connected layer tells the numbers of its outputs and inputs first.
        header = (2 if name.endswith(b"fc_2") else 0) + 1
        integers = []
        for _ in range(header + 4):
            integer, position = _integer(data, position)
            integers.append(integer)
        count = int(np.prod(integers[header:]))
        if position + 4 * count > len(data):
            raise ValueError("the data end inside a tensor")
        yield np.frombuffer(data, "<f4", count, position)
        position += 4 * count


def _integer(data: bytes, position: int) -> tuple[int, int]:
    """Reads one integer; returns it and the position after it."""
    size = data[position] & 0x0F
    value = int.from_bytes(data[position + 1 : position + 1 + size], "little")
    return (-value if data[position] & 0x80 else value), position + 1 + size


def _folded(stream: Iterator[np.ndarray], width_in: int, width: int, size: int) -> Params:
    """A convolution (filters `[out, in, h, w]`, then biases) and the affine layer after it (scales, then shifts)."""
    values, affine = next(stream), next(stream)
    filters, bias = values[:-width].reshape(width, width_in, size, size), values[-width:]
    scale, shift = affine.reshape(2, width)
    kernel = filters.transpose(2, 3, 1, 0) * scale
    return {"kernel": np.ascontiguousarray(kernel), "bias": bias * scale + shift}
