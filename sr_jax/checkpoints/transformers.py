"""Transformers in workdirs: trained whole, imported, or adapted with low-rank factors. Their weights are not read here.

What comes back are trees of `LazyArray`: the weights are read part by part where they are placed or saved.
"""

from pathlib import Path
from typing import Any

import ml_collections

from sr_jax.backbones.base import get_backbone
from sr_jax.checkpoints.networks import backbone_of
from sr_jax.checkpoints.origins import locate_base
from sr_jax.checkpoints.reading import open_params
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.models.lora import LoraConfig, merge
from sr_jax.parallel.lazy import on_host


def load_transformer(
    workdir: str | Path, *, step: int | None = None, base: str | Path = ""
) -> tuple[Params, dict[str, Any]]:
    """The averaged weights of a transformer as `LazyArray`, with the checkpoint's `meta`.

    Of a run that trained low-rank factors: the weights that it started from, with the factors merged into them.

    Args:
        workdir: Workdir of a base or stage two run, or an import of released weights.
        step: Which checkpoint; the newest when None.
        base: Where the weights are that low-rank factors adapt; empty: see `origins.locate_base`.

    Raises:
        UserError: When it holds no (such) transformer, or the weights that its factors adapt are not found.
    """
    params, meta = open_params(workdir, step=step)
    if "lora" in params:
        return _merged(workdir, params["lora"], meta, base), meta
    if base:
        raise UserError(f"{workdir} holds a whole transformer, which adapts no other one: leave out --base")
    if "transformer" not in params:
        raise UserError(f"{workdir} is a {meta['stage']} run, which generates nothing: name a base or stage two run")
    return params["transformer"], meta


def fitted_transformer(config: ml_collections.ConfigDict, *, step: int | None = None) -> Params:
    """The transformer that `config.init` names, as `config.model` has it; weights are of the type they are stored in.

    Args:
        config: See `configs/`.
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When it is of another backbone or architecture than `config.model`, or its learned position table
            does not fit `config.model` as `config.init.position_table` asks for.
    """
    params, meta = load_transformer(config.init.transformer, step=step)
    if meta["config"]["backbone"] != config.backbone:
        raise UserError(
            f"config.backbone is {config.backbone!r}, but the transformer in {config.init.transformer} is a "
            f"{meta['config']['backbone']!r}: use a config of that, or another workdir"
        )
    wanted = get_backbone(config.backbone, config.model.to_dict())
    params, found = backbone_of(meta["config"]).fitted(params, wanted.latent_size, config.init.position_table)
    for name, (ours, theirs) in wanted.differences(found).items():
        raise UserError(
            f"config.model.{name} is {ours!r}, but the transformer in {config.init.transformer} has {theirs!r}: use "
            "its model section, or another workdir"
        )
    return params


def trained_lora(workdir: str | Path) -> tuple[Params, LoraConfig, dict[str, Any]]:
    """Loads the averaged low-rank factors of a run, what they were trained with, and the checkpoint's `meta`.

    Raises:
        UserError: When the run trained none.
    """
    params, meta = open_params(workdir)
    if "lora" not in params:
        raise UserError(f"{workdir} is a {meta['stage']} run without a LoRA: name one with config.lora.rank above 0")
    return on_host(params["lora"]), _lora_config(meta), meta


def _merged(workdir: str | Path, lora: Params, meta: dict[str, Any], base: str | Path) -> Params:
    config = ml_collections.ConfigDict(meta["config"])
    config.init.transformer, step = locate_base(workdir, meta, base)
    try:
        weights = fitted_transformer(config, step=step)
    except UserError as error:
        raise UserError(f"{workdir} adapts the transformer in {config.init.transformer}: {error}") from error
    return merge(weights, on_host(lora), _lora_config(meta))


def _lora_config(meta: dict[str, Any]) -> LoraConfig:
    lora = meta["config"]["lora"]
    return LoraConfig(lora["rank"], lora["alpha"], tuple(lora["targets"]))
