"""Optimizers and learning-rate schedules by name."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
import optax.contrib
from flax import nnx
from jaxtyping import Array, Int, PyTree
from optax.contrib import MuonDimensionNumbers

from sr_jax.errors import UserError
from sr_jax.models import precision

BUFFERS = ("pos_embedding", "empty_prompt")
"""Names of arrays among the parameters that no optimizer changes: a learned position table, as in all released
trainers, and the text of a structure module."""


def learning_rate_schedule(
    config: ml_collections.ConfigDict, num_train_steps: int, peak: float | None = None
) -> optax.Schedule:
    """Linear warm-up to the peak, then constant or cosine to zero.

    Args:
        config: `learning_rate`, `warmup_steps`, `schedule` ("constant" or "cosine").
        num_train_steps: Where the cosine ends.
        peak: `config.learning_rate` when None.

    Raises:
        UserError: For an unknown schedule.
    """
    peak = config.learning_rate if peak is None else peak
    if config.schedule == "constant":
        # Without steps optax's warm-up stays at 0.
        warmup = config.warmup_steps
        return optax.warmup_constant_schedule(0.0, peak, warmup) if warmup else optax.constant_schedule(peak)
    if config.schedule == "cosine":
        # A run that ends within its warm-up never comes to the cosine.
        end = max(num_train_steps, config.warmup_steps + 1)
        return optax.warmup_cosine_decay_schedule(0.0, peak, config.warmup_steps, end)
    raise UserError(f"config.optimizer.schedule is {config.schedule!r}: choose constant or cosine")


def decaying(modules: Mapping[str, nnx.State]) -> PyTree:
    """Which parameters weight decay acts on, where that is not all: matrices and convolutions, by their logical axes.

    Not on what has one axis (the layers of a scan aside): norms and biases, whose size is no measure of how much a
    network fits. Nor on modulations, which read the time embedding and put out shifts, scales and gates: decay would
    pull the gates of adaLN-Zero back to the closed ones that they start from. Nor on tables of positions.
    Factors of a LoRA decay, whatever they are of.

    Args:
        modules: The parameters of each module with their metadata (`Functional.abstract`).

    Returns:
        A boolean for each parameter, in the structure of the parameters.
    """

    def one(variable: nnx.Variable) -> bool:
        first, *others = variable.get_metadata()["logical_axes"]
        is_modulation = first == "time" and others not in (["time"], ["lora_rank"])
        return bool(others) and first != "positions" and not is_modulation

    def of_module(abstract: nnx.State) -> PyTree:
        flat = [(path, one(variable)) for path, variable in nnx.to_flat_state(abstract)]
        return nnx.to_pure_dict(nnx.from_flat_state(flat))

    return {name: of_module(abstract) for name, abstract in modules.items()}


def make_optimizer(
    config: ml_collections.ConfigDict, num_train_steps: int, decays: PyTree | None = None
) -> optax.GradientTransformationExtraArgs:
    """AdamW, Lion, Adafactor or Muon, behind a clip of the gradients' global norm, which `update` takes as `grad_norm`.

    Adafactor (Shazeer & Stern 2018) keeps of each matrix the row and column means of the squared gradients, and no
    momentum; the updates are scaled by the learning rate alone. Lion (Chen et al. 2023, algorithm 2) keeps a mean of
    gradients alone, and moves every parameter by the learning rate, up or down.

    Args:
        config: `name` ("adamw", "lion", "adafactor" or "muon"), `learning_rate`, `warmup_steps`, `schedule`, `b1`,
            `b2`, `eps`, `weight_decay`, `max_grad_norm`, `state_dtype` ("float32" or "bfloat16"); for Muon also
            `muon_learning_rate`, with the same schedule.
        num_train_steps: Length of the run, for the schedule.
        decays: A boolean for each parameter: whether weight decay acts on it. None: on all.

    Raises:
        UserError: For an unknown name or schedule.
    """
    schedule = learning_rate_schedule(config, num_train_steps)
    if config.name == "adamw":
        rule = optax.adamw(schedule, b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=config.weight_decay)
    elif config.name == "lion":
        rule = optax.lion(schedule, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay)
    elif config.name == "muon":
        rule = optax.contrib.muon(
            learning_rate_schedule(config, num_train_steps, peak=config.muon_learning_rate),
            eps=config.eps,
            weight_decay=config.weight_decay,
            adam_b1=config.b1,
            adam_b2=config.b2,
            adam_weight_decay=config.weight_decay,
            adam_learning_rate=schedule,
            muon_weight_dimension_numbers=_block_matrices,
        )
    elif config.name == "adafactor":
        rule = optax.chain(
            optax.scale_by_factored_rms(),
            optax.clip_by_block_rms(1.0),
            optax.add_decayed_weights(config.weight_decay),
            optax.scale_by_learning_rate(schedule),
        )
    else:
        raise UserError(f"config.optimizer.name is {config.name!r}: choose adamw, lion, adafactor or muon")
    rule = precision.stored_in(rule, precision.storage_type("optimizer.state_dtype", config.state_dtype), seed=0)
    rule = rule if decays is None else _decaying_only(rule, decays)
    return optax.chain(_clip_by_grad_norm(config.max_grad_norm), rule, optax.stateless(_keep_buffers))


def updates_made(opt_state: PyTree) -> Int[Array, ""]:
    """How many updates a state of `make_optimizer` has behind it, with which the learning rate goes."""
    # Each part of a rule counts its own, and they are one number.
    return optax.tree_utils.tree_get_all_with_path(opt_state, "count")[0][1]


def _decaying_only(rule: optax.GradientTransformation, decays: PyTree) -> optax.GradientTransformation:
    """`rule` with weight decay on some parameters only.

    No rule here looks at a parameter but to take a part of it off: what is not to decay is shown as 0. Optax's masks
    would do for all but Muon, whose Adam takes none, and they change the state's structure.
    """

    def update(updates: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        shown = jax.tree.map(lambda param, decay: param if decay else jnp.zeros_like(param), params, decays)
        return rule.update(updates, state, shown)

    return optax.GradientTransformation(rule.init, update)


def _clip_by_grad_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """Optax's `clip_by_global_norm` of a norm that is known: on a mesh it costs exchanges, and the step computes it."""

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree = None, *, grad_norm: jax.Array, **_: Any
    ) -> tuple[PyTree, optax.EmptyState]:
        del params

        def clip(update: jax.Array) -> jax.Array:
            return jax.lax.select(grad_norm < max_norm, update, update / grad_norm.astype(update.dtype) * max_norm)

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _keep_buffers(updates: PyTree, params: PyTree) -> PyTree:
    """No update for what is stored with the parameters and never trained; weight decay would shrink it."""
    del params

    def one(path: tuple[jax.tree_util.DictKey, ...], update: jax.Array) -> jax.Array:
        return jnp.zeros_like(update) if path[-1].key in BUFFERS else update

    return jax.tree_util.tree_map_with_path(one, updates)


def _block_matrices(params: PyTree) -> PyTree:
    """Which axes of which parameters Muon orthogonalises: the matrices of attention and feed-forward in the blocks.

    Everything else (projections in and out, modulations, norms, biases, convolutions) is left to Adam, as Muon's
    authors advise. The blocks are stacked, so each of these kernels is `[layers, in, out]`.
    """

    def dimensions(path: tuple[jax.tree_util.DictKey, ...], _: Any) -> MuonDimensionNumbers | None:
        names = {key.key for key in path}
        inside = "transformer_blocks" in names and not names.isdisjoint({"attn1", "ff"}) and "kernel" in names
        return MuonDimensionNumbers(reduction_axis=1, output_axis=2) if inside else None

    return jax.tree_util.tree_map_with_path(dimensions, params)
