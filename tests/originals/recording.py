"""Calls of functions that need PyTorch: computed live, or what they gave when they were recorded."""

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import jax
import numpy as np

RECORDS = Path(__file__).parent / "records"
MAX_BYTES = 1_000_000
"""Of one file of records, so that the repository stays small."""


class Mode(Enum):
    """How a call is answered."""

    REPLAY = "from the records; PyTorch is not imported"
    LIVE = "computed, and compared with the records"
    RECORD = "computed, and written to the records"


class Original:
    """The functions of one module of `tests.originals`, by their names.

    Arguments and results are numbers, strings, bytes, None, NumPy arrays, and tuples, lists and dicts of these; an
    argument that is a `Path` stands for everything that lies there. A record belongs to the exact arguments, arrays and
    files bit by bit: a test whose inputs changed finds none, and fails. So inputs must not be results of floating-point
    arithmetic, which other processors round differently.
    """

    def __init__(self, module: str, mode: Mode, folder: Path = RECORDS):
        self._module, self._mode, self._folder = module, mode, folder
        self._files: dict[str, dict[str, np.ndarray]] = {}
        self._used: dict[str, dict[str, np.ndarray]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            key = digest((args, kwargs))
            if self._mode is Mode.REPLAY:
                return self._replay(name, key)
            result = getattr(importlib.import_module(f"tests.originals.{self._module}"), name)(*args, **kwargs)
            if self._mode is Mode.RECORD:
                self._used.setdefault(name, {}).update(flatten(result, key))
            else:
                check_same(self._replay(name, key), result, f"{self._module}.{name}")
            return result

        return call

    def save(self) -> None:
        """Adds what was computed in RECORD mode to the records."""
        for name, arrays in self._used.items():
            path = self._path(name)
            arrays = (dict(np.load(path)) if path.exists() else {}) | arrays
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {MAX_BYTES}: record less")

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._module}.{name}.npz"

    def _replay(self, name: str, key: str) -> Any:
        if name not in self._files:
            path = self._path(name)
            self._files[name] = dict(np.load(path)) if path.exists() else {}
        if key not in self._files[name]:
            raise LookupError(
                f"{self._module}.{name} was not recorded with these arguments: run bash tests/originals/record.sh"
            )
        return unflatten(self._files[name], key)


def digest(value: Any) -> str:
    """A name for arguments, the same for the same ones on every machine."""
    sha = hashlib.sha256()
    for part in _parts(value):
        sha.update(part if isinstance(part, bytes) else part.encode())
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def _parts(value: Any) -> Iterable[str | bytes]:
    if isinstance(value, Path):
        files = [value] if value.is_file() else sorted(path for path in value.rglob("*") if path.is_file())
        if not files:
            raise FileNotFoundError(f"nothing lies at {value}")
        yield f"files {len(files)}"
        for path in files:
            yield path.relative_to(value).as_posix()
            yield path.read_bytes()
    elif isinstance(value, np.ndarray | jax.Array):
        array = np.ascontiguousarray(value)
        yield f"{array.dtype} {array.shape}"
        yield array.tobytes()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}"
        for key in sorted(value):
            yield repr(key)
            yield from _parts(value[key])
    elif isinstance(value, tuple | list):
        yield f"sequence {len(value)}"
        for item in value:
            yield from _parts(item)
    elif value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        yield repr(value)
    else:
        raise TypeError(f"a {type(value).__name__} has no lasting name: give arrays, numbers, strings and paths")


def flatten(result: Any, key: str) -> dict[str, np.ndarray]:
    """The arrays of a result, under names that begin with `key`, and its structure as JSON under `key` itself."""
    arrays: dict[str, np.ndarray] = {}

    def keep(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            name = f"{key}.{len(arrays)}"
            arrays[name] = np.asarray(value)
            return {"array": name}
        if isinstance(value, bytes):
            return keep(np.frombuffer(value, np.uint8)) | {"bytes": True}
        if isinstance(value, dict):
            return {"dict": [[keep(name), keep(item)] for name, item in value.items()]}
        if isinstance(value, tuple | list):
            return {type(value).__name__: [keep(item) for item in value]}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        raise TypeError(f"a {type(value).__name__} cannot be recorded: give arrays, numbers and strings")

    structure = json.dumps(keep(result))
    return arrays | {key: np.frombuffer(structure.encode(), np.uint8)}


def unflatten(arrays: Mapping[str, np.ndarray], key: str) -> Any:
    """The inverse of `flatten`."""

    def make(node: dict) -> Any:
        if "array" in node:
            array = arrays[node["array"]]
            return array.tobytes() if "bytes" in node else array.copy()
        if "dict" in node:
            return {make(name): make(item) for name, item in node["dict"]}
        if "tuple" in node:
            return tuple(map(make, node["tuple"]))
        if "list" in node:
            return list(map(make, node["list"]))
        return node["value"]

    return make(json.loads(arrays[key].tobytes()))


def check_same(recorded: Any, computed: Any, name: str) -> None:
    """Fails where a record is not what is computed today, but for rounding."""
    old, new = flatten(recorded, ""), flatten(computed, "")
    words = f"the record of {name} is out of date: run bash tests/originals/record.sh"
    _check_same_nodes(json.loads(old[""].tobytes()), json.loads(new[""].tobytes()), words)
    largest = max((np.abs(array).max() for array in new.values() if array.dtype.kind == "f" and array.size), default=0)
    for key, array in new.items():
        assert old[key].shape == array.shape and old[key].dtype == array.dtype, words
        if array.dtype.kind == "f" and array.size:
            np.testing.assert_allclose(
                old[key], array, rtol=0, atol=1e-4 * np.abs(array).max() + 1e-6 * largest, err_msg=words
            )
        elif array.dtype.kind != "f" and key:
            np.testing.assert_array_equal(old[key], array, err_msg=words)


def _check_same_nodes(recorded: Any, computed: Any, words: str) -> None:
    """The same nodes, with numbers that another machine may have rounded in another way."""
    if isinstance(computed, dict):
        assert isinstance(recorded, dict) and recorded.keys() == computed.keys(), words
        for name, node in computed.items():
            _check_same_nodes(recorded[name], node, words)
    elif isinstance(computed, list):
        assert isinstance(recorded, list) and len(recorded) == len(computed), words
        for one, other in zip(recorded, computed, strict=True):
            _check_same_nodes(one, other, words)
    elif isinstance(computed, float) and isinstance(recorded, float):
        np.testing.assert_allclose(recorded, computed, rtol=1e-4, err_msg=words)
    else:
        assert recorded == computed and type(recorded) is type(computed), words


def random_weights(
    shapes: Mapping[str, tuple[int, ...]], seed: int, rule: Callable[[str, tuple[int, ...], np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Seeded float32 weights by name, each from a stream of its own, so that records need hold none.

    Args:
        shapes: Of every weight.
        seed: Of all of them.
        rule: Name, shape and noise to the weight. The noise has unit variance and is uniform: the tails of normal draws
            go through the logarithm of a machine's own C library.
    """
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:8]])
        noise = rng.uniform(-(3**0.5), 3**0.5, tuple(shape)).astype(np.float32)
        weights[name] = np.asarray(rule(name, tuple(shape), noise), np.float32)
    return weights
