"""The training state and the pure train step."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from clu import metrics as clu_metrics
from flax import struct
from jaxtyping import PyTree

from sr_jax.models import precision
from sr_jax.models.functional import Params
from sr_jax.training.optimizers import updates_made

Metrics = dict[str, clu_metrics.Average]
"""Running averages by name; they merge exactly, whatever the number of samples behind each."""

SKIPPED = "skipped"
"""The metric that is 1 of a step that changed nothing, because its loss or gradient was not finite, and 0 of others."""

Batch = dict[str, jax.Array]
"""Arrays `[B, ...]` by name."""

Drawn = dict[str, Any]
"""What a step draws from a batch: arrays `[B, ...]`, by names that may be nested."""

Running = dict[str, Any]
"""Small arrays that a stage carries from step to step beside what is trained, such as a running similarity."""


class Progress(NamedTuple):
    """How far a run has come, for what changes on its way.

    Attributes:
        step: Number of batches taken before, int32 scalar.
        running: What the stage carries.
    """

    step: jax.Array
    running: Running


@runtime_checkable
class Loss(Protocol):
    """What of a stage (`stages.Stage`) a step needs."""

    def draw(self, frozen: Params, batch: Batch, key: jax.Array, progress: Progress) -> Drawn:
        """A batch of records with all randomness drawn; every array is `[B, ...]`, so that it can be taken in parts."""
        ...

    def loss(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[jax.Array, Metrics]:
        """The scalar loss of what `draw` returned, or of some of its samples, and its metrics."""
        ...

    def advance(self, running: Running, metrics: Metrics) -> Running:
        """What the stage carries after a step, by the metrics of the whole batch; skipped steps leave it alone."""
        ...


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: Number of batches taken, int32 scalar; with those that were skipped.
        params: What is trained.
        opt_state: The optimizer's state.
        ema_params: Exponential moving average of `params`; what sampling uses.
        running: What the stage carries from step to step besides; `{}` for most.

    The same class holds the shapes and the shardings of these, so its fields are trees of anything.
    """

    step: PyTree
    params: PyTree
    opt_state: PyTree
    ema_params: PyTree
    running: PyTree = struct.field(default_factory=dict)

    @classmethod
    def create(
        cls, params: Params, optimizer: optax.GradientTransformation, running: Running | None = None
    ) -> "TrainState":
        """The state before the first update; the average starts at `params`."""
        # A copy, because the step donates the state and a buffer can be donated once only.
        ema_params = jax.tree.map(jnp.copy, params)
        opt_state = optimizer.init(precision.to_float32(params))
        return cls(jnp.zeros((), jnp.int32), params, opt_state, ema_params, jax.tree.map(jnp.asarray, running or {}))


def make_train_step(
    stage: Loss,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float,
    seed: int,
    accumulate_steps: int = 1,
    learning_rate: optax.Schedule | None = None,
) -> Callable[[TrainState, Params, Batch], tuple[TrainState, Metrics]]:
    """Builds `train_step(state, frozen, batch) -> (state, metrics)`, pure and ready to be jitted.

    All randomness of a step comes from `fold_in(key(seed), state.step)`, so a resumed run draws what an
    uninterrupted one draws and no generator needs saving. Updates are computed in float32, whatever the parameters are
    stored in.

    A step whose loss or gradient is not finite is skipped: it counts in `step`, and all else stays as it was, bit for
    bit. Its metrics average nothing, but for `SKIPPED`.

    Beside those of the loss the metrics are `grad_norm`, `param_norm` and `update_norm`, global L2 norms: of the
    gradients before they are clipped, of the parameters behind the update, and of what it added to them.

    Args:
        stage: The loss.
        optimizer: The update rule; it may take the gradients' global norm as `grad_norm`.
        ema_decay: Decay of the average once warmed up; at step n it is at most `(1 + n) / (10 + n)`.
        seed: Seed of the run.
        accumulate_steps: In how many parts the gradient of a batch is computed, one after the other. All of the
            batch's randomness is drawn before, so that it does not depend on this.
        learning_rate: The optimizer's, for the metrics; None leaves it out of them.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def train_step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        # Records are stored, sent and held in float16.
        batch = jax.tree.map(lambda x: x.astype(jnp.float32), batch)
        drawn = stage.draw(frozen, batch, key, Progress(state.step, state.running))
        loss, gradients, metrics = _gradients(stage, state.params, frozen, drawn, accumulate_steps)
        norm = optax.global_norm(gradients)
        metrics["grad_norm"] = average(norm[None])
        good = jnp.isfinite(loss) & jnp.isfinite(norm)

        def trained() -> tuple[TrainState, Metrics]:
            new_state, norms = _update(state, gradients, norm, optimizer, ema_decay, key)
            new_state = new_state.replace(running=stage.advance(state.running, metrics))
            rate = {"learning_rate": learning_rate(updates_made(state.opt_state))} if learning_rate else {}
            # A rate that is constant is a number of Python's.
            return new_state, metrics | {name: average(jnp.asarray([value])) for name, value in (norms | rate).items()}

        def skipped() -> tuple[TrainState, Metrics]:
            nothing = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), jax.eval_shape(trained)[1])
            return state.replace(step=state.step + 1), nothing

        # Choosing leaf by leaf between the two would be compiled to other bits than the update alone.
        state, metrics = jax.lax.cond(good, trained, skipped)
        return state, metrics | {SKIPPED: average((~good)[None])}

    return train_step


def _update(
    state: TrainState,
    gradients: Params,
    grad_norm: jax.Array,
    optimizer: optax.GradientTransformationExtraArgs,
    ema_decay: float,
    key: jax.Array,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The state after one update of what is trained, and the norms of the parameters and of what the update added."""
    old_params, old_ema = precision.to_float32((state.params, state.ema_params))
    updates, opt_state = optimizer.update(gradients, state.opt_state, old_params, grad_norm=grad_norm)
    params = optax.apply_updates(old_params, updates)
    decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
    # In this form the average of what does not change keeps its bits.
    ema_params = jax.tree.map(lambda mean, new: mean + (1.0 - decay) * (new - mean), old_ema, params)
    params_key, ema_key = jax.random.split(jax.random.fold_in(key, 1))
    norms = {"param_norm": optax.global_norm(params), "update_norm": optax.global_norm(updates)}
    params = precision.store(params, state.params, params_key)
    ema_params = precision.store(ema_params, state.ema_params, ema_key)
    return TrainState(state.step + 1, params, opt_state, ema_params, state.running), norms


def _gradients(
    stage: Loss, params: Params, frozen: Params, drawn: Drawn, accumulate_steps: int
) -> tuple[jax.Array, Params, Metrics]:
    """The batch's loss, its float32 gradients, and its metrics."""
    gradient = jax.value_and_grad(stage.loss, has_aux=True)
    if accumulate_steps == 1:
        (loss, metrics), gradients = gradient(params, frozen, drawn)
        return loss, precision.to_float32(gradients), metrics

    def parts(x: jax.Array) -> jax.Array:
        # Neighbours go to different parts, so that every part has samples on every device that has some.
        return jnp.moveaxis(x.reshape(-1, accumulate_steps, *x.shape[1:]), 1, 0)

    def add(total: Params, part: Drawn) -> tuple[Params, tuple[jax.Array, Metrics]]:
        (loss, metrics), gradients = gradient(params, frozen, part)
        return jax.tree.map(lambda t, g: t + g.astype(t.dtype) / accumulate_steps, total, gradients), (loss, metrics)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    gradients, (losses, metrics) = jax.lax.scan(add, zeros, jax.tree.map(parts, drawn))
    # Totals and counts of the averages.
    return losses.mean(), gradients, jax.tree.map(lambda x: x.sum(axis=0), metrics)


def average(values: jax.Array, mask: jax.Array | None = None) -> clu_metrics.Average:
    """The average of `values` `[B]` over the samples where `mask` `[B]` is true (all when None)."""
    return clu_metrics.Average.from_model_output(values, mask=mask)


def merge_metrics(left: Metrics, right: Metrics) -> Metrics:
    """Merges two windows of running averages, name by name."""
    return {name: left[name].merge(right[name]) for name in left}
