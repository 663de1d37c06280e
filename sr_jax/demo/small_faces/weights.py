"""One file for one small network: its parameters and its config, as safetensors."""

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from safetensors import safe_open

from sr_jax.conversion.tensor_files import write_tensors
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params

_Config = TypeVar("_Config")


def save_network(path: Path, config: Any, params: Params) -> None:
    """Writes a network, rounded to float16: whole, or not at all.

    Args:
        path: File to write.
        config: Dataclass that builds the network again; stored as JSON.
        params: Nested dict of arrays; stored by their paths.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    tensors = {_name(keys): np.asarray(leaf, np.float16) for keys, leaf in leaves}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, {"config": json.dumps(dataclasses.asdict(config), sort_keys=True)})


def read_config(path: Path, kind: type[_Config]) -> _Config:
    """Reads the config of a network that `save_network` wrote.

    Args:
        path: File to read.
        kind: The config's dataclass.

    Raises:
        UserError: If the file is missing, is not a network, or is one of another kind.
    """
    if not path.is_file():
        raise UserError(f"no network at {path}: fit one with python -m sr_jax.demo.fit_teachers")
    try:
        with safe_open(path, framework="numpy") as stored:
            values = json.loads(stored.metadata()["config"])
        # JSON has no tuples.
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    # A damaged file, a missing key, bad JSON and other fields arrive as different exceptions.
    except Exception as error:
        raise UserError(f"{path} is not a network of {kind.__name__}: fit one with sr_jax.demo.fit_teachers") from error


def read_params(path: Path, network: Functional) -> Params:
    """Reads the parameters of a network, in the structure of `network`.

    Raises:
        UserError: If a parameter is missing or has another shape.
    """
    with safe_open(path, framework="numpy") as stored:
        names = set(stored.keys())

        def read(keys: tuple[Any, ...], like: jax.ShapeDtypeStruct) -> np.ndarray:
            name = _name(keys)
            if name not in names or tuple(stored.get_slice(name).get_shape()) != like.shape:
                raise UserError(f"{path} has no parameter {name} of shape {like.shape}: fit it again")
            return stored.get_tensor(name).astype(like.dtype)

        return jax.tree_util.tree_map_with_path(read, network.abstract_params())


def _name(keys: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator=".")
