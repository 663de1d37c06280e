"""The bytes of a record: a `tf.train.Example`, as TFDS and TensorFlow read it.

Written without the message that protobuf would build: its arrays, nearly all of a record, are copied once, not three
times. An example is a map from names to features, and a feature a list of values (`example.proto`, `feature.proto` in
tensorflow/core/example). In protobuf's wire format a message, a text and bytes are their field's number and type in a
byte, their length, and what they are; a map's entry is a message of key and value.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sr_jax.data.records import STRING_FIELDS, RecordSpec

Part = bytes | memoryview
# Fields of a feature, by the type of its values; numbers are packed: as one value of bytes.
_BYTES, _FLOAT, _INT64 = 1, 2, 3


def serialise(record: Mapping[str, Any], spec: RecordSpec) -> bytes:
    """The bytes of a record, of which the features are in the order of their names.

    Args:
        record: As `writing.Split` holds it.
        spec: Its arrays.

    Raises:
        ValueError: When an array has another shape or type than `spec` says.
    """
    features: dict[str, list[Part]] = {}
    for name, shape in spec.array_shapes().items():
        array = record[name]
        if array.shape != shape or array.dtype != np.float16:
            raise ValueError(
                f"{name} of {record['clip_id']} is {array.dtype}{list(array.shape)}, records have float16{list(shape)}"
            )
        features[name] = _feature(_BYTES, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    for name in STRING_FIELDS:
        features[name] = _feature(_BYTES, record[name].encode())
    features["fps"] = _feature(_FLOAT, struct.pack("<f", record["fps"]))
    features["source_first_frame"] = _feature(_INT64, _varint(record["source_first_frame"]))
    entries = [
        part
        for name in sorted(features)
        for part in _field(1, [*_field(1, [name.encode()]), *_field(2, features[name])])
    ]
    return b"".join(_field(1, entries))


def _feature(kind: int, values: Part) -> list[Part]:
    """A feature of one value, or of packed ones."""
    return _field(kind, _field(1, [values]))


def _field(number: int, parts: Sequence[Part]) -> list[Part]:
    """A message, text or bytes, in parts, as field `number` of a message."""
    length_delimited = 2
    length = sum(map(len, parts))
    return [bytes([number << 3 | length_delimited]), _varint(length), *parts]


def _varint(value: int) -> bytes:
    """A number, 7 bits a byte, the lowest first; a negative one as 64 bits."""
    value &= 2**64 - 1
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
