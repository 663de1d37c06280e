"""Low-rank factors as diffusers and PEFT keep them, and checkpoints with the factors merged in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy

from sr_jax.conversion.output import new_folder
from sr_jax.conversion.rules import TensorRule, require_finite, to_theirs
from sr_jax.models.functional import Params
from sr_jax.models.lora import LoraConfig, adapted_layers
from sr_jax.parallel.stored import save_item

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
"""What `load_lora_weights` looks for in a folder."""


def lora_tensors(lora: Params, config: LoraConfig, rules: Sequence[TensorRule]) -> dict[str, np.ndarray]:
    """The factors under the names that `load_lora_weights` of diffusers' pipelines takes.

    `alpha / rank` is multiplied into `lora_B`: a file that names no alpha counts its product once, in every version of
    diffusers and in other programs, while not all of them read an alpha from a file's metadata.

    Args:
        lora: The factors.
        config: What they were trained with.
        rules: Of the transformer that they adapt.

    Returns:
        `transformer.LAYER.lora_A.weight` `[rank, in]` and `transformer.LAYER.lora_B.weight` `[out, rank]`; of a
        convolution `[rank, in, kh, kw]` and `[out, rank, 1, 1]`.

    Raises:
        UserError: If a factor holds NaN, naming the layer.
    """
    layers = adapted_layers(lora)
    tensors = {}
    for rule in rules:
        if rule.target[-1] == "kernel" and rule.target[:-1] in layers:
            a, b = (np.asarray(factor, np.float32) for factor in layers[rule.target[:-1]])
            name = f"transformer.{rule.source.removesuffix('.weight')}"
            for factor in (a, b):
                require_finite(factor, name)
            tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = _theirs(rule, a, config.scale * b)
    return tensors


def save_lora(tensors: dict[str, np.ndarray], output: Path) -> None:
    """Writes a folder that `load_lora_weights` takes, whole or not at all.

    Raises:
        UserError: If `output` exists.
    """
    with new_folder(output) as partial:
        safetensors.numpy.save_file(tensors, partial / WEIGHTS_FILE, metadata={"format": "pt"})


def save_merged(params: Params, meta: dict[str, Any], output: Path) -> None:
    """Writes merged weights as a checkpoint that samples, trains on and exports like one that was trained whole.

    Args:
        params: Of the transformer.
        meta: Of the checkpoint that held the factors.
        output: Folder to write; must not exist.

    Raises:
        UserError: If `output` exists.
    """
    whole = meta | {"config": meta["config"] | {"lora": meta["config"]["lora"] | {"rank": 0}}}
    with new_folder(output) as partial, ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        checkpoint = partial / "checkpoints" / str(meta["step"])
        save_item(checkpoint / "ema_params", "transformer", params)
        checkpointer.save((checkpoint / "meta").absolute(), args=ocp.args.JsonSave(whole))


def _theirs(rule: TensorRule, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if rule.layer is not None:
        a, b = a[rule.layer], b[rule.layer]
    a, b = to_theirs(a, rule.layout, rule.kernel), b.T
    # After the convolution with A one with B, of one pixel.
    b = b.reshape(*b.shape, *(1 for _ in rule.kernel))
    return np.ascontiguousarray(a), np.ascontiguousarray(b)
