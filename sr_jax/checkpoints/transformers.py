"""Transformers in workdirs: trained whole, imported, or adapted with low-rank factors. Their weights are not read here.

What comes back are trees of `LazyArray`: the weights are read part by part where they are placed or saved.
"""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections

from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.backbones.cogvideox.position_table import fit_position_table
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.models.lora import LoraConfig, merge
from sr_jax.parallel.lazy import on_host
from sr_jax.training import checkpoints

_SAMPLE_SIZE = ("sample_frames", "sample_height", "sample_width")


def load_transformer(workdir: str | Path, *, step: int | None = None) -> tuple[Params, dict[str, Any]]:
    """The averaged weights of a transformer as `LazyArray`, with the checkpoint's `meta`.

    Of a run that trained low-rank factors: the weights that it started from, with the factors merged into them.

    Args:
        workdir: Workdir of a base or stage two run, or an import of released weights.
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When it holds no (such) transformer, or the weights that its factors adapt are no longer there.
    """
    params, meta = checkpoints.open_params(workdir, step=step)
    if "lora" in params:
        return _merged(workdir, params["lora"], meta), meta
    if "transformer" not in params:
        raise UserError(f"{workdir} is a {meta['stage']} run, which generates nothing: name a base or stage two run")
    return params["transformer"], meta


def fitted_transformer(config: ml_collections.ConfigDict, *, step: int | None = None) -> Params:
    """The transformer that `config.init` names, as `config.model` has it; weights are of the type they are stored in.

    Args:
        config: See `configs/`.
        step: Which checkpoint; the newest when None.

    Raises:
        UserError: When it has another architecture than `config.model`, or its learned position table does not fit
            `config.model` as `config.init.position_table` asks for.
    """
    params, meta = load_transformer(config.init.transformer, step=step)
    wanted = CogVideoXConfig(**config.model.to_dict())
    model = CogVideoXConfig(**meta["config"]["model"])
    params, model = fit_position_table(params, model, wanted.sample_size, config.init.position_table)
    if model.patch_size_t is not None:
        # No position of version 1.5 depends on the size of training, and copies of its released config differ in it.
        model = dataclasses.replace(model, **{name: getattr(wanted, name) for name in _SAMPLE_SIZE})
    for name, value in dataclasses.asdict(wanted).items():
        if value != getattr(model, name):
            raise UserError(
                f"config.model.{name} is {value!r}, but the transformer in {config.init.transformer} has "
                f"{getattr(model, name)!r}: use its model section, or another workdir"
            )
    return params


def trained_lora(workdir: str | Path) -> tuple[Params, LoraConfig, dict[str, Any]]:
    """Loads the averaged low-rank factors of a run, what they were trained with, and the checkpoint's `meta`.

    Raises:
        UserError: When the run trained none.
    """
    params, meta = checkpoints.open_params(workdir)
    if "lora" not in params:
        raise UserError(f"{workdir} is a {meta['stage']} run without a LoRA: name one with config.lora.rank above 0")
    return on_host(params["lora"]), _lora_config(meta), meta


def _merged(workdir: str | Path, lora: Params, meta: dict[str, Any]) -> Params:
    config = ml_collections.ConfigDict(meta["config"])
    try:
        base = fitted_transformer(config, step=meta["frozen_steps"]["transformer"])
    except UserError as error:
        raise UserError(f"{workdir} adapts the transformer in {config.init.transformer}: {error}") from error
    return merge(base, on_host(lora), _lora_config(meta))


def _lora_config(meta: dict[str, Any]) -> LoraConfig:
    lora = meta["config"]["lora"]
    return LoraConfig(lora["rank"], lora["alpha"], tuple(lora["targets"]))
