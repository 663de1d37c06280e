"""dlib's face recognition network with random weights, and its file format."""

from collections.abc import Mapping

import numpy as np

from tests.originals.recording import random_weights

BLOCKS = (
    [(32, 1)] * 3 + [(64, 2)] + [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 2 + [(256, 2)] + [(256, 1)] * 2 + [(256, 2)]
)
"""Channels and stride of each residual block, input side first, as in the template `anet_type` of dlib."""


def weights(seed: int) -> dict[str, np.ndarray]:
    """Filters and bias of each convolution, scale and shift of the affine layer after it, and the last layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    width_in = 3
    for number, (width, size) in enumerate([(32, 7)] + [(width, 3) for width, _ in BLOCKS for _ in range(2)]):
        shapes[f"{number}.filters"] = (width, width_in, size, size)
        shapes |= {f"{number}.{name}": (width,) for name in ("bias", "scale", "shift")}
        width_in = width
    shapes["head"] = (width_in, 128)
    return random_weights(shapes, seed, _random_weight)


def to_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The network in dlib's file format, with some of the fields that a reader must skip."""
    data = b"\x01\x01\x01\x0dloss_metric_2\x03\x0a\xd7\xa3\x81\x1c"
    for number in range(1 + 2 * len(BLOCKS)):
        filters, bias, scale, shift = (tensors[f"{number}.{name}"] for name in ("filters", "bias", "scale", "shift"))
        values = np.concatenate([filters.ravel(), bias])
        data += b"\x01\x05con_4" + _tensor(values, [len(values), 1, 1, 1]) + b"\x01\x20"
        affine = np.concatenate([scale, shift])
        data += b"\x01\x07affine_" + _tensor(affine, [1, len(affine), 1, 1]) + b"\x01\x05relu_"
    return data + b"\x01\x04fc_2" + _integer(128) + _integer(256) + _tensor(tensors["head"], [256, 128, 1, 1])


def _random_weight(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
    if name == "head":
        return noise / 16
    if name.endswith("filters"):
        return (2 / np.prod(shape[1:])) ** 0.5 * noise
    if name.endswith("scale"):
        return 1 + 0.3 * noise
    return 0.1 * noise


def _tensor(values: np.ndarray, shape: list[int]) -> bytes:
    return _integer(2) + b"".join(map(_integer, shape)) + values.astype("<f4").tobytes()


def _integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")
