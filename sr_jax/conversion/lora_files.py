"""LoRA files of other programs, read as factors of our layers: all of a file, or nothing."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from jaxtyping import Float

from sr_jax.conversion.components import read_json
from sr_jax.conversion.layer_names import Names
from sr_jax.conversion.lora_layouts import Found, recognise
from sr_jax.conversion.rules import TensorRule, expected_shapes, name_list, require_finite, to_ours
from sr_jax.conversion.safetensors_file import read_metadata
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.errors import UserError
from sr_jax.models.functional import Params

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
"""What `load_lora_weights` of diffusers looks for in a folder."""
_ADAPTER_FILE, _ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Of diffusers, in a file's metadata; its entries have the name of the part of the pipeline in front.
_METADATA, _PART = "lora_adapter_metadata", "transformer."
# Of a configuration that says nothing of it.
_PEFT_ALPHA = 8
# What changes what the factors mean, and is not computed here.
_NOT_READ = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "arrow_config",
)


@dataclasses.dataclass(frozen=True)
class Factors:
    """What a file adds to one layer: `scale * up @ down`.

    Attributes:
        down: Of a convolution `[rank, in, kh, kw]`.
        up: Of a convolution `[out, rank, 1, 1]`.
        scale: alpha / rank.
    """

    down: Float[np.ndarray, "rank *rest"]
    up: Float[np.ndarray, "out rank *ones"]
    scale: float


def lora_file(path: Path) -> Path:
    """The LoRA file that a user names: itself, or the one in a folder of diffusers or PEFT.

    Raises:
        UserError: If there is none.
    """
    candidates = [path / WEIGHTS_FILE, path / _ADAPTER_FILE] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix == ".safetensors":
            return candidate
    raise UserError(f"no LoRA at {path}: name a .safetensors file, or a folder with {WEIGHTS_FILE} or {_ADAPTER_FILE}")


def read_lora(path: Path, rules: Sequence[TensorRule], abstract: Params, other_names: Mapping[str, Names]) -> Params:
    """Reads a LoRA file of any of `lora_layouts.LAYOUTS`.

    Args:
        path: The file, or a folder with one (`lora_file`).
        rules: Of the transformer that it adapts.
        abstract: Parameters of that transformer, or their shapes.
        other_names: What other programs call its layers.

    Returns:
        The factors as `models.lora` has them, of the layers that the file adapts, each product counting once (alpha
        is in `lora_b`). A stacked layer has the largest of its blocks' ranks; ranks that a block has not are 0.

    Raises:
        UserError: Naming every key that is none of a LoRA of this transformer, that misses its counterpart, or that
            has another shape; when a value is not finite, or the file asks for what is not computed here.
    """
    path = lora_file(path)
    kernels = {rule.source.removesuffix(".weight"): rule for rule in rules if rule.target[-1] == "kernel"}
    tensors = read_state_dict(path)
    layout, found, unknown = recognise(tensors, kernels, other_names)
    if unknown or not found:
        raise UserError(
            f"{path} has keys that belong to no LoRA of this transformer: {name_list(unknown) or 'none at all'}: of "
            f"the layouts that are known, {layout} explains most of its keys ({len(found)} of {len(tensors)})"
        )
    factors = _factors(path, tensors, found)
    shapes = expected_shapes(list(kernels.values()), abstract)
    differing = [
        f"{layer} {found.up.shape[:1] + found.down.shape[1:]} instead of {shapes[f'{layer}.weight']}"
        for layer, found in sorted(factors.items())
        if (found.up.shape[0], *found.down.shape[1:]) != shapes[f"{layer}.weight"]
    ]
    if differing:
        raise UserError(f"{path} is a LoRA of a transformer of another size: {', '.join(differing)}")
    return _stacked(factors, kernels, abstract)


def _factors(path: Path, tensors: Mapping[str, np.ndarray], found: Mapping[str, Found]) -> dict[str, Factors]:
    """The factors of each of our layers, by diffusers' names."""
    groups: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    places = {}
    for key, (layer, holds, its_places) in found.items():
        require_finite(tensors[key], f"{path}: {key}")
        if holds in groups[layer]:
            raise UserError(f"{path} holds {holds} of {layer} twice: take another copy of it")
        groups[layer][holds], places[layer] = tensors[key], its_places
    lone = {layer for layer, group in groups.items() if not {"down", "up"} <= group.keys()}
    if lone:
        raise UserError(f"{path} has only a part of the factors of {name_list(lone)}: take another copy of it")
    config = _adapter_config(path)
    factors = {}
    for layer, group in groups.items():
        down, up = group["down"], group["up"]
        if up.ndim < 2 or down.ndim != up.ndim or up.shape[1] != len(down) or up[0, 0].size != 1:
            raise UserError(f"{path}: the factors of {layer}, {down.shape} and {up.shape}, cannot be multiplied")
        for name, place in places[layer].items():
            if len(up) % place.of:
                raise UserError(f"{path}: the {len(up)} outputs of {layer} cannot be cut into {place.of} equal parts")
            scale = group["alpha"].item() / len(down) if "alpha" in group else _scale(config, name, len(down))
            factors[name] = Factors(down, up[place.rows(len(up))], scale)
    return factors


def _adapter_config(path: Path) -> dict[str, Any]:
    """PEFT's `LoraConfig` of a file: in its metadata (diffusers), beside it (PEFT), or {}."""
    metadata = read_metadata(path).get(_METADATA)
    config = {}
    if metadata is not None:
        try:
            given = json.loads(metadata)
            config = {name.removeprefix(_PART): value for name, value in given.items() if name.startswith(_PART)}
        except (ValueError, AttributeError) as error:
            raise UserError(f"{path} has metadata that cannot be read ({error}): take another copy of it") from error
    elif path.name == _ADAPTER_FILE and (path.parent / _ADAPTER_CONFIG).is_file():
        config = read_json(path.parent / _ADAPTER_CONFIG)
    if asked := [name for name in _NOT_READ if config.get(name)]:
        raise UserError(f"{path} asks for {', '.join(asked)}: only plain LoRA is read here; merge it with PEFT")
    alphas = [config.get("lora_alpha", 0), *(config.get("alpha_pattern") or {}).values()]
    if not all(isinstance(alpha, int | float) for alpha in alphas):
        raise UserError(f"{path} has an alpha that is no number: take another copy of it")
    return config


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """The alpha / rank of a layer as PEFT has it (`LoraLayer.update_layer`); 1 where the file names no alpha."""
    patterns = config.get("alpha_pattern") or {}
    # Names of layers, or their last words (`peft.utils.other.get_pattern_key`); "^" marks a whole name.
    matching = [name for name in patterns if layer == name.lstrip("^") or layer.endswith(f".{name}")]
    alpha = patterns[matching[0]] if matching else config.get("lora_alpha", _PEFT_ALPHA if config else rank)
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank


def _stacked(factors: Mapping[str, Factors], kernels: Mapping[str, TensorRule], abstract: Params) -> Params:
    """The factors in our layout, those of blocks stacked."""
    shapes = traverse_util.flatten_dict(abstract)
    ranks: dict[tuple[str | int, ...], int] = defaultdict(int)
    for layer, found in factors.items():
        ranks[kernels[layer].target] = max(ranks[kernels[layer].target], len(found.down))
    result = {}
    for target, rank in ranks.items():
        *stack, inputs, outputs = shapes[target].shape
        result[*target[:-1], "lora_a"] = np.zeros((*stack, inputs, rank), np.float32)
        result[*target[:-1], "lora_b"] = np.zeros((*stack, rank, outputs), np.float32)
    for layer, found in factors.items():
        rule, rank = kernels[layer], len(found.down)
        index = () if rule.layer is None else (rule.layer,)
        result[*rule.target[:-1], "lora_a"][*index, :, :rank] = to_ours(found.down, rule.layout)
        result[*rule.target[:-1], "lora_b"][*index, :rank] = found.scale * found.up.reshape(len(found.up), rank).T
    return traverse_util.unflatten_dict(result)


def join_factors(loras: Sequence[Params], weights: Sequence[float]) -> Params:
    """One LoRA whose product is the weighted sum of the products of several: their factors side by side.

    Args:
        loras: As `read_lora` gives them; they need not adapt the same layers, nor have the same ranks.
        weights: What each counts.
    """
    joined: dict[tuple[str | int, ...], list[np.ndarray]] = defaultdict(list)
    for lora, weight in zip(loras, weights, strict=True):
        for path, factor in traverse_util.flatten_dict(lora).items():
            joined[path].append(factor if path[-1] == "lora_a" else weight * factor)
    axes = {"lora_a": -1, "lora_b": -2}
    return traverse_util.unflatten_dict(
        {path: np.concatenate(parts, axis=axes[path[-1]]) for path, parts in joined.items()}
    )
