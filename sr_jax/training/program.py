"""The program of a run: its one jitted step, and the shapes and shardings of all that goes in and comes out.

`train` runs this step and `plan` compiles it for devices that nobody has at hand: what is planned is what runs. Nothing
here allocates an array.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from sr_jax.checkpoints.networks import backbone_of
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.records import RecordSpec
from sr_jax.errors import UserError
from sr_jax.models import precision
from sr_jax.models.functional import Params
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel import sharding
from sr_jax.training.optimizers import decaying, learning_rate_schedule, make_optimizer
from sr_jax.training.stages import Frozen, Stage
from sr_jax.training.state import TrainState, make_train_step


@dataclasses.dataclass(frozen=True)
class Program:
    """One stage on one mesh.

    Every leaf of `state` and `frozen` is a `jax.ShapeDtypeStruct` with its sharding.

    Attributes:
        mesh: The devices.
        stage: What is trained, and its loss.
        optimizer: The update rule.
        state: The training state.
        frozen: What the loss reads and never changes, as `builders.load_frozen` reads it.
        train_step: `(state, frozen, batch) -> (state, metrics)`, jitted; it donates the state.
    """

    mesh: Mesh
    stage: Stage
    optimizer: optax.GradientTransformation
    state: TrainState
    frozen: Params
    train_step: jax.stages.Wrapped


def build_program(config: ml_collections.ConfigDict, mesh: Mesh, stage: Stage) -> Program:
    """The program of `stage` (`builders.build_stage`) on `mesh`.

    Raises:
        UserError: For an unknown optimizer, an option of it that is none of its values, or an unknown sharding rule.
        ValueError: Naming each parameter that no sharding rule matches.
    """
    rules = sharding.ShardingRules.of(config.sharding.to_dict())
    optimizer = _optimizer(config, stage)
    param_dtype = precision.storage_type("param_dtype", config.param_dtype)
    state = _abstract_state(stage, optimizer, mesh, rules, param_dtype)
    frozen = _abstract_frozen(stage, mesh, rules, precision.storage_type("frozen_dtype", config.frozen_dtype))
    step = make_train_step(
        stage,
        optimizer,
        ema_decay=config.ema_decay,
        seed=config.seed,
        accumulate_steps=config.accumulate_steps,
        learning_rate=learning_rate_schedule(config.optimizer, config.num_train_steps),
    )
    train_step = meshes.jit_on_mesh(
        mesh,
        step,
        donate_argnums=0,
        in_shardings=(shardings(state), shardings(frozen), meshes.batch_sharding(mesh)),
        out_shardings=(shardings(state), meshes.replicated(mesh)),
    )
    return Program(mesh, stage, optimizer, state, frozen, train_step)


def _optimizer(config: ml_collections.ConfigDict, stage: Stage) -> optax.GradientTransformationExtraArgs:
    decays = None
    if config.optimizer.weight_decay_on == "matrices":
        decays = decaying({name: module.abstract for name, module in stage.modules.items()})
    return make_optimizer(config.optimizer, config.num_train_steps, decays)


def shardings(abstract: Any) -> Any:
    """The shardings of a tree of `jax.ShapeDtypeStruct`."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def record_spec(config: ml_collections.ConfigDict, stage: Stage, *, noisy_images: int) -> RecordSpec:
    """The records that `config` trains on, when their sizes are those that its model names.

    Args:
        config: See `configs/`.
        stage: What it describes, which may read fields that not every dataset has.
        noisy_images: K, how many draws of the noisy first frame a record holds.
    """
    backbone = backbone_of(config.to_dict())
    (frames, height, width), (tokens, text_width) = backbone.latent_size, backbone.text_shape
    latent = {"t": frames, "h": height, "w": width, "c": backbone.latent_channels}
    others = {"k": noisy_images + 1, "e": config.identity.embedding_dim, "l": tokens, "d": text_width}
    return RecordSpec(CORE_FIELDS | stage.fields, latent | others)


def abstract_batch(spec: RecordSpec, stage: Stage, batch_size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """The global batch of records of `spec`, as the stage's step takes it: the fields that it reads, in float16.

    Raises:
        UserError: When the batch cannot be split over the mesh's batch axes.
    """
    meshes.check_batch_size(batch_size, mesh)
    where, shapes = meshes.batch_sharding(mesh), spec.array_shapes()
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shapes[name]), jnp.float16, sharding=where) for name in stage.fields
    }


@contextlib.contextmanager
def naming_records(folder: Path, spec: RecordSpec) -> Iterator[None]:
    """Says of records that do not fit, which a trace in this context finds out, where they lie and how large they are.

    Raises:
        UserError: For any error of tracing.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"the records in {folder} do not fit: {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the records in {folder}, with latents {spec.latent_shape}, text {spec.text_shape} and "
            f"{spec.embedding_dim} numbers a face, do not fit the config's models: {error}"
        ) from error


def _abstract_state(
    stage: Stage, optimizer: optax.GradientTransformation, mesh: Mesh, rules: sharding.ShardingRules, dtype: jnp.dtype
) -> TrainState:
    params = {name: _abstract_params(module.abstract, mesh, rules, dtype) for name, module in stage.modules.items()}
    opt_state = jax.eval_shape(optimizer.init, jax.eval_shape(precision.to_float32, params))
    return TrainState(
        step=_everywhere(np.int32(0), mesh),
        params=params,
        opt_state=_place(opt_state, sharding.like(params, opt_state, mesh)),
        ema_params=params,
        running=_everywhere(stage.running, mesh),
    )


def _everywhere(tree: Any, mesh: Mesh) -> Any:
    where = meshes.replicated(mesh)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree)


def _abstract_frozen(stage: Stage, mesh: Mesh, rules: sharding.ShardingRules, dtype: jnp.dtype) -> Params:
    def described(frozen: Frozen) -> Any:
        if frozen.is_network:
            return _abstract_params(frozen.abstract, mesh, rules, dtype)
        return _everywhere(frozen.abstract, mesh)

    return {name: described(frozen) for name, frozen in stage.frozen.items()}


def _abstract_params(module: nnx.State, mesh: Mesh, rules: sharding.ShardingRules, dtype: jnp.dtype) -> Params:
    def stored(variable: nnx.Param) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(variable.get_value().shape, variable.get_metadata().get("stored_as", dtype))

    flat = [(path, stored(variable)) for path, variable in nnx.to_flat_state(module)]
    return _place(nnx.to_pure_dict(nnx.from_flat_state(flat)), sharding.param_shardings(module, mesh, rules))


def _place(abstract: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), abstract, shardings
    )
