"""From a config to its stage, and from a stage to what its training starts with."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import traverse_util

from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.models.precision import storage_type
from sr_jax.training.alignment_modules import build_alignment_modules
from sr_jax.training.denoising import build_denoising
from sr_jax.training.lora import with_lora
from sr_jax.training.stages import Stage

STAGES = ("base", "stage_one", "stage_two")


def build_stage(config: ml_collections.ConfigDict, instead: Mapping[str, Any] | None = None) -> Stage:
    """The stage that `config` describes.

    Stage two with all weights 0 is plain fine-tuning: it is built, and compiled, without the frozen modules. With a
    LoRA, either trains the factors of that and nothing else of the transformer.

    Args:
        config: See `configs/`.
        instead: Config of stage one for objectives that name no workdir of their own; None: that is an error.

    Raises:
        UserError: For an unknown stage or an option that is none of its values; when a loss has a weight and the config
            names no workdir for a module it needs; when a workdir has no checkpoint, or did not train the module; for a
            LoRA file to go on with where no LoRA is trained.
    """
    storage_type("dtype", config.dtype)
    if config.stage not in STAGES:
        raise UserError(f"config.stage is {config.stage!r}: choose one of {'; '.join(STAGES)}")
    if config.init.lora and not config.lora.rank:
        raise UserError(
            f"config.init.lora is {config.init.lora}, but config.lora.rank is 0: set it to that file's rank"
        )
    if config.stage == "stage_one":
        return build_alignment_modules(config)
    stage = build_denoising(config, instead)
    return with_lora(stage, config) if config.lora.rank else stage


def load_frozen(stage: Stage, steps: Mapping[str, int] | None = None) -> Params:
    """What the stage's loss reads and never changes, as arrays of any kind; `{}` when that is nothing.

    Args:
        stage: The stage.
        steps: Which checkpoint of its workdir each part is that comes from one; the newest where nothing is said.

    Raises:
        UserError: When a workdir or the dataset lacks what the stage needs.
    """
    return {name: frozen.read((steps or {}).get(name)) for name, frozen in stage.frozen.items()}


def initial_params(stage: Stage, loaded: Params, key: jax.Array) -> Params:
    """Where training starts: fresh parameters, and over them what was loaded (`stage.start`), in the stage's types.

    Pure, so it can be jitted with `out_shardings`; then what is loaded is not drawn first.
    """
    keys = jax.random.split(key, len(stage.modules))
    fresh = {name: module.init(keys[i]) for i, (name, module) in enumerate(stage.modules.items())}
    params, flat_loaded = traverse_util.flatten_dict(fresh), traverse_util.flatten_dict(loaded)
    params |= {path: jnp.asarray(leaf, params[path].dtype) for path, leaf in flat_loaded.items()}
    return traverse_util.unflatten_dict(params)
