"""From a config to modules, stages and their starting parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import traverse_util

from sr_jax.alignment.identity_module import IdentityConfig, IdentityModule
from sr_jax.alignment.structure_module import StructureModule, init_from_transformer, with_empty_prompt
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.checkpoints.transformers import fitted_transformer, load_transformer
from sr_jax.data.builder import read_empty_prompt
from sr_jax.diffusion.v_prediction import VPrediction, ScheduleConfig
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.lora import AdaptedFunctional
from sr_jax.models.precision import storage_type
from sr_jax.training import checkpoints
from sr_jax.training.lora import LoraStage, lora_config
from sr_jax.training.stages import Alignment, AlignmentModules, Denoising, Stage

STAGES = ("base", "stage_one", "stage_two")


def build_transformer(model: Mapping[str, Any], *, dtype: str = "float32", remat: str = "none") -> Functional:
    """The transformer of a config's `model` section (the fields of `CogVideoXConfig`)."""
    config = CogVideoXConfig(**model)
    return Functional(lambda rngs: CogVideoXTransformer3D(config, rngs=rngs, dtype=jnp.dtype(dtype), remat=remat))


def build_structure(
    structure: Mapping[str, Any], text: str = "none", *, dtype: str = "float32", remat: str = "none"
) -> Functional:
    """The structure module `f_S` of a stage one config.

    Args:
        structure: Its `structure` section (the fields of `CogVideoXConfig`).
        text: Its `structure_text`: "none" or "empty_prompt".
        dtype: Compute type.
        remat: What the backward pass of the blocks keeps, one of `remat.POLICIES`.

    Raises:
        UserError: For another `text`.
    """
    _choose("structure_text", text, ("none", "empty_prompt"))
    config = CogVideoXConfig(**structure)
    options = {"with_text": text == "empty_prompt", "dtype": jnp.dtype(dtype), "remat": remat}
    return Functional(lambda rngs: StructureModule(config, rngs=rngs, **options))


def build_identity(identity: Mapping[str, Any], *, dtype: str = "float32") -> Functional:
    """The identity module `f_ID` of a config's `identity` section (the fields of `IdentityConfig`)."""
    config = IdentityConfig(**_tuples(identity))
    return Functional(lambda rngs: IdentityModule(config, rngs=rngs, dtype=jnp.dtype(dtype)))


def build_schedule(schedule: Mapping[str, Any]) -> VPrediction:
    """The noise schedule of a config's `schedule` section (the fields of `ScheduleConfig`)."""
    return VPrediction(ScheduleConfig(**schedule))


def build_stage(config: ml_collections.ConfigDict, frozen: Mapping[str, Mapping[str, Any]] | None = None) -> Stage:
    """The stage that `config` describes.

    Stage two with both weights 0 is plain fine-tuning: it is built, and compiled, without the frozen modules. With a
    LoRA, either trains the factors of that and nothing else.

    Args:
        config: See `configs/`.
        frozen: As `frozen_configs`, which it is when None.

    Raises:
        UserError: For an unknown stage or an option that is none of its values.
    """
    storage_type("dtype", config.dtype)
    precision = {"dtype": config.dtype, "remat": config.remat}
    schedule = build_schedule(config.schedule.to_dict())
    lora = lora_config(config)
    if config.stage == "stage_one":
        modules = {}
        if "structure" in config.train_modules:
            modules["structure"] = build_structure(config.structure.to_dict(), config.structure_text, **precision)
        if "identity" in config.train_modules:
            modules["identity"] = build_identity(config.identity.to_dict(), dtype=config.dtype)
        _choose("train_modules", ",".join(config.train_modules), ("structure", "identity", "structure,identity"))
        _choose("structure_input", config.structure_input, ("clean", "noisy"))
        return AlignmentModules(modules, schedule, config.structure_input, config.identity.use_depth)
    _choose("stage", config.stage, STAGES)
    transformer = build_transformer(config.model.to_dict(), **precision)
    if lora is not None:
        transformer = AdaptedFunctional(transformer, lora)
    frozen = frozen_configs(config) if frozen is None else frozen
    model = CogVideoXConfig(**config.model.to_dict())
    denoising = Denoising(
        modules={"transformer": transformer},
        schedule=schedule,
        image_dropout=config.image_dropout,
        text_dropout=config.text_dropout,
        image_to_video=model.image_to_video,
        temporal_patch=model.patch[0],
        alignment=_build_alignment(config, frozen) if frozen else None,
    )
    return denoising if lora is None else LoraStage({"lora": transformer}, denoising)


def uses_frozen_modules(config: ml_collections.ConfigDict) -> bool:
    """Whether the stage's loss needs the modules that stage one trains."""
    return config.stage == "stage_two" and bool(config.structure_weight or config.identity_weight)


def frozen_configs(
    config: ml_collections.ConfigDict, instead: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """For each frozen module that the stage's losses use, the config of the stage one that trained it.

    Args:
        config: See `configs/`.
        instead: Config of a module that `config` names no workdir for; None: that is an error.

    Raises:
        UserError: When a loss has a weight and the config names no workdir for a module it needs; when a workdir has no
            checkpoint, or is that of a run which did not train the module.
    """

    def trained(name: str) -> dict[str, Any]:
        if config.frozen[name]:
            return _stage_one_config(name, config.frozen[name])
        if instead is None:
            raise UserError(
                f"config.frozen.{name} is empty: name the workdir of a finished stage one, "
                "or set config.structure_weight=0 and config.identity_weight=0 for plain fine-tuning"
            )
        return instead

    if not uses_frozen_modules(config):
        return {}
    found = {}
    if config.structure_weight:
        found["structure"] = trained("structure")
    if config.identity_weight:
        found["identity"] = trained("identity")
        if found["identity"]["identity"]["use_depth"] and "structure" not in found:
            found["structure"] = trained("structure")
    return found


def frozen_workdirs(config: ml_collections.ConfigDict) -> dict[str, str]:
    """The workdir of each module that the stage reads and does not train: with a LoRA, of the transformer too.

    Raises:
        UserError: As `frozen_configs`; or when the config names no transformer for a LoRA.
    """
    workdirs = {name: config.frozen[name] for name in frozen_configs(config)}
    if lora_config(config) is None:
        return workdirs
    if not config.init.transformer:
        raise UserError(
            f"config.init.transformer is empty: with config.lora.rank={config.lora.rank}, name the workdir of a "
            "trained transformer, or an import of released weights"
        )
    return workdirs | {"transformer": config.init.transformer}


def _stage_one_config(name: str, workdir: str) -> dict[str, Any]:
    meta = checkpoints.read_meta(workdir)
    if name not in meta["config"].get("train_modules", ()):
        raise UserError(
            f"config.frozen.{name}={workdir} holds no {name} module: name the workdir of a stage one that trained one"
        )
    return meta["config"]


def load_frozen(config: ml_collections.ConfigDict) -> Params:
    """What the stage's loss reads and never changes, as arrays of any kind; `{}` when that is nothing.

    Parameters of the frozen modules, from the averaged weights of their workdirs; with a LoRA the transformer that it
    adapts; and for text dropout the dataset's `empty_prompt`.

    Raises:
        UserError: When a workdir or the dataset lacks what the stage needs.
    """
    frozen = {}
    for name in frozen_configs(config):
        frozen[name] = checkpoints.open_params(config.frozen[name])[0][name]
    if lora_config(config) is not None:
        frozen["transformer"] = fitted_transformer(config)
    if config.stage != "stage_one" and config.text_dropout:
        frozen["empty_prompt"] = read_empty_prompt(config.data.dir)
    return frozen


def frozen_steps(config: ml_collections.ConfigDict) -> dict[str, int]:
    """Which checkpoint of its workdir each of `frozen_workdirs` is."""
    return {name: checkpoints.read_meta(workdir)["step"] for name, workdir in frozen_workdirs(config).items()}


def load_initial(config: ml_collections.ConfigDict, stage: Stage) -> Params:
    """The parameters that do not start fresh, in the types they are stored in: a part of the tree of all parameters.

    They are arrays of any kind (`sr_jax.parallel.lazy`), mostly in files still.

    `config.init.transformer` names the workdir of a transformer, or an import of released weights. The base run and
    stage two start from its averaged weights; stage one starts its structure module from evenly spaced blocks of it.
    With text, the structure module holds the dataset's empty prompt.

    Raises:
        UserError: As `fitted_transformer`; or when the dataset has no empty prompt that fits.
    """
    params = {name: module.abstract_params() for name, module in stage.modules.items()}
    if "empty_prompt" in params.get("structure", {}):
        params["structure"] = with_empty_prompt(params["structure"], read_empty_prompt(config.data.dir))
    if config.init.transformer and "transformer" in params:
        params["transformer"] = fitted_transformer(config)
    if config.init.transformer and "structure" in params:
        pretrained, meta = load_transformer(config.init.transformer)
        num_layers = meta["config"]["model"]["num_layers"]
        params["structure"] = init_from_transformer(
            params["structure"], pretrained, num_layers, config.structure.num_layers
        )
    flat = traverse_util.flatten_dict(params)
    loaded = {path: leaf for path, leaf in flat.items() if not isinstance(leaf, jax.ShapeDtypeStruct)}
    return traverse_util.unflatten_dict(loaded)


def initial_params(stage: Stage, loaded: Params, key: jax.Array) -> Params:
    """Where training starts: fresh parameters, and over them what was loaded (`load_initial`), in the stage's types.

    Pure, so it can be jitted with `out_shardings`; then what is loaded is not drawn first.
    """
    keys = jax.random.split(key, len(stage.modules))
    fresh = {name: module.init(keys[i]) for i, (name, module) in enumerate(stage.modules.items())}
    params, flat_loaded = traverse_util.flatten_dict(fresh), traverse_util.flatten_dict(loaded)
    params |= {path: jnp.asarray(leaf, params[path].dtype) for path, leaf in flat_loaded.items()}
    return traverse_util.unflatten_dict(params)


def _build_alignment(config: ml_collections.ConfigDict, stage_one: Mapping[str, Mapping[str, Any]]) -> Alignment:
    alignment = Alignment(structure_weight=config.structure_weight, identity_weight=config.identity_weight)
    if "structure" in stage_one:
        trained = stage_one["structure"]
        precision = {"dtype": config.dtype, "remat": config.remat}
        structure = build_structure(trained["structure"], trained["structure_text"], **precision)
        alignment = dataclasses.replace(alignment, structure=structure, structure_input=trained["structure_input"])
    if "identity" in stage_one:
        section = stage_one["identity"]["identity"]
        identity = build_identity(section, dtype=config.dtype)
        alignment = dataclasses.replace(alignment, identity=identity, identity_uses_depth=section["use_depth"])
    return alignment


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"config.{name} is {value!r}: choose one of {'; '.join(choices)}")


def _tuples(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list | tuple) else value for key, value in section.items()}
