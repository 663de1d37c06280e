"""Low-rank factors in the layouts of other programs, and checkpoints with the factors merged in."""

import dataclasses
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from sr_jax.conversion.imported import RECORD_FILE, STEP_FOLDER, read_record
from sr_jax.conversion.layer_names import Names, Place, place_of
from sr_jax.conversion.lora_files import WEIGHTS_FILE, Factors
from sr_jax.conversion.lora_layouts import LAYOUTS, written_key
from sr_jax.conversion.output import new_folder, require_outside
from sr_jax.conversion.rules import TensorRule, require_finite, to_theirs
from sr_jax.conversion.tensor_files import write_tensors
from sr_jax.models.functional import Params
from sr_jax.models.lora import LoraConfig, adapted_layers
from sr_jax.parallel.stored import save_item


def lora_tensors(
    lora: Params,
    config: LoraConfig,
    rules: Sequence[TensorRule],
    layout: str = "diffusers",
    other_names: Mapping[str, Names] | None = None,
) -> dict[str, np.ndarray]:
    """The factors as a LoRA file of a layout has them.

    Where the layout has an alpha, it is written, and its product with the factors counts alpha / rank times. Elsewhere
    `alpha / rank` is multiplied into the second factor: a file that names no alpha counts its product once, in every
    version of diffusers and in other programs, while not all of them read an alpha from a file's metadata.

    Layers that the layout keeps in one share a factor: their `down` one below the other, and `up` with zeros between.

    Args:
        lora: The factors.
        config: What they were trained with.
        rules: Of the transformer that they adapt.
        layout: One of `LORA_LAYOUTS`.
        other_names: What other programs call its layers (`PartKind.other_names`); diffusers' names need none.

    Returns:
        For "diffusers", `transformer.LAYER.lora_A.weight` `[rank, in]` and `transformer.LAYER.lora_B.weight`
        `[out, rank]`; of a convolution `[rank, in, kh, kw]` and `[out, rank, 1, 1]`.

    Raises:
        UserError: If a factor holds NaN, naming the layer.
    """
    shape, names = LAYOUTS[layout], (other_names or {}).get(LAYOUTS[layout].names[0], {})
    parts: dict[str, list[tuple[Place, Factors]]] = defaultdict(list)
    for layer, factors in _layers(lora, config, rules).items():
        place = place_of(names, layer)
        parts[place.name].append((place, factors))
    tensors = {}
    for pieces in parts.values():
        place, whole = pieces[0][0], _joined(pieces)
        tensors[written_key(shape, place, "down")] = np.ascontiguousarray(whole.down)
        if shape.alpha:
            tensors[written_key(shape, place, "up")] = np.ascontiguousarray(whole.up)
            tensors[written_key(shape, place, "alpha")] = np.array(whole.scale * len(whole.down), np.float32)
        else:
            tensors[written_key(shape, place, "up")] = np.ascontiguousarray(whole.scale * whole.up)
    return tensors


def save_lora(tensors: dict[str, np.ndarray], output: Path) -> None:
    """Writes a folder that `load_lora_weights` takes, whole or not at all.

    Raises:
        UserError: If `output` exists.
    """
    with new_folder(output) as partial:
        write_tensors(partial / WEIGHTS_FILE, tensors, {"format": "pt"})


def save_merged(params: Params, meta: dict[str, Any], merged: list[dict[str, Any]], output: Path) -> None:
    """Writes merged weights as a checkpoint that samples, trains on and exports like one that was trained whole.

    Args:
        params: Of the transformer.
        meta: Of the checkpoint that they come from.
        merged: LoRA files that are in them beside the run's own factors, for `meta`.
        output: Folder to write; must not exist.

    Raises:
        UserError: If `output` exists.
    """
    config = meta["config"]
    whole = meta | {"config": config | {"lora": config.get("lora", {}) | {"rank": 0}}}
    whole |= {"merged": meta.get("merged", []) + merged}
    with new_folder(output) as partial:
        _save(params, whole, partial / "checkpoints" / str(meta["step"]))


def save_merged_import(
    params: Params, meta: dict[str, Any], merged: list[dict[str, Any]], source: Path, output: Path
) -> None:
    """Writes merged weights as an import, whose other parts are those of `source`, without copies where it can be.

    Args:
        params: Of the transformer.
        meta: Of the import's checkpoint.
        merged: LoRA files that are in them.
        source: The import that they come from.
        output: Folder to write; must not exist.

    Raises:
        UserError: If `output` exists or lies in `source`.
    """
    require_outside(output, source)
    record = read_record(source)
    record = dataclasses.replace(record, merged=record.merged + merged)
    with new_folder(output) as partial:
        shutil.copytree(source, partial, copy_function=_link, dirs_exist_ok=True, ignore=_weights_and_meta)
        _save(params, meta | {"imported": dataclasses.asdict(record)}, partial / STEP_FOLDER)
        (partial / RECORD_FILE).unlink()
        record.write(partial)


def _save(params: Params, meta: dict[str, Any], checkpoint: Path) -> None:
    save_item(checkpoint / "ema_params", "transformer", params)
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        checkpointer.save((checkpoint / "meta").absolute(), args=ocp.args.JsonSave(meta))


def _weights_and_meta(folder: str, names: list[str]) -> set[str]:
    """What of an import's files is written anew."""
    return {"ema_params", "meta"} & set(names) if Path(folder).name == STEP_FOLDER.name else set()


def _link(source: str, target: str) -> None:
    """A second name for a file, which nothing writes to again; a copy on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _layers(lora: Params, config: LoraConfig, rules: Sequence[TensorRule]) -> dict[str, Factors]:
    """The factors of each layer by diffusers' names, in PyTorch's layout."""
    layers, result = adapted_layers(lora), {}
    for rule in rules:
        if rule.target[-1] == "kernel" and rule.target[:-1] in layers:
            a, b = (np.asarray(factor, np.float32) for factor in layers[rule.target[:-1]])
            name = rule.source.removesuffix(".weight")
            for factor in (a, b):
                require_finite(factor, name)
            if rule.layer is not None:
                a, b = a[rule.layer], b[rule.layer]
            # After the convolution with A one with B, of one pixel.
            up = b.T.reshape(*b.T.shape, *(1 for _ in rule.kernel))
            result[name] = Factors(to_theirs(a, rule.layout, rule.kernel), up, config.scale)
    return result


def _joined(pieces: Sequence[tuple[Place, Factors]]) -> Factors:
    """The factors of one layer of theirs, of those of ours that it joins; all have one scale."""
    place, first = pieces[0]
    if place.of == 1:
        return first
    outputs = len(first.up) // len(place.parts) * place.of
    down = np.concatenate([factors.down for _, factors in pieces])
    up = np.zeros((outputs, len(down)), np.float32)
    column = 0
    for place, factors in pieces:
        rank = len(factors.down)
        up[place.rows(outputs), column : column + rank] = factors.up
        column += rank
    return Factors(down, up, first.scale)
