"""LoRA files beside a checkpoint: read for its backbone, and merged into its transformer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from sr_jax.backbones.base import Backbone
from sr_jax.conversion.lora_files import join_factors, lora_file, read_lora
from sr_jax.conversion.rules import cast
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.models.lora import LoraConfig, merge

# Alpha is in the factors.
_ONCE = LoraConfig(rank=1, alpha=1.0, targets=())


def read_lora_file(path: str | Path, backbone: Backbone) -> Params:
    """The factors of a LoRA file of any layout that is known, each product counting once.

    Args:
        path: A `.safetensors` file, or a folder of diffusers or PEFT with one.
        backbone: What it adapts.

    Raises:
        UserError: As `conversion.lora_files.read_lora`.
    """
    kind = backbone.parts["transformer"]
    abstract = kind.functional(backbone.config).abstract_params()
    return read_lora(Path(path), kind.conversion.rules(backbone.config), abstract, kind.other_names)


def merge_lora_files(params: Params, backbone: Backbone, files: Sequence[str], weights: Sequence[float]) -> Params:
    """A transformer's parameters with LoRA files merged in: `W + sum of weight * alpha / rank * B A`, as `LazyArray`.

    Kernels keep the type that they are stored in: sampling needs as much memory as without.

    Args:
        params: Of the transformer.
        backbone: Its backbone.
        files: As `read_lora_file` takes them.
        weights: What each counts; empty: 1.

    Raises:
        UserError: As `read_lora_file`; when there are not as many weights as files.
    """
    if not files:
        return params
    counted = _counted(files, weights)
    lora = join_factors([read_lora_file(file, backbone) for file in files], counted)
    kernels = traverse_util.flatten_dict(params)
    factors = {
        path: cast(factor, np.dtype(kernels[*path[:-1], "kernel"].dtype), ".".join(map(str, path)))
        for path, factor in traverse_util.flatten_dict(lora).items()
    }
    return merge(params, traverse_util.unflatten_dict(factors), _ONCE)


def described(files: Sequence[str], weights: Sequence[float]) -> list[dict[str, Any]]:
    """What tells of LoRA files that were merged: their contents, not where they lie.

    Raises:
        UserError: As `merge_lora_files`.
    """
    return [
        {"name": Path(file).name, "sha256": _sha256(lora_file(Path(file))), "weight": weight}
        for file, weight in zip(files, _counted(files, weights), strict=True)
    ]


def _counted(files: Sequence[str], weights: Sequence[float]) -> list[float]:
    if weights and len(weights) != len(files):
        raise UserError(
            f"there are {len(files)} LoRA files and {len(weights)} weights: give one weight for each, or none"
        )
    return [float(weight) for weight in weights or [1.0] * len(files)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
