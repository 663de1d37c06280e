"""The training state and the pure train step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from clu import metrics as clu_metrics
from flax import struct
from jaxtyping import PyTree

from sr_jax.models.functional import Params

Metrics = dict[str, clu_metrics.Average]
"""Running averages by name; they merge exactly, whatever the number of samples behind each."""

Batch = dict[str, jax.Array]
LossFn = Callable[[Params, Params, Batch, jax.Array], tuple[jax.Array, Metrics]]
"""`(params, frozen, batch, key) -> (scalar loss, metrics)`."""


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: Number of updates made, int32 scalar.
        params: What is trained.
        opt_state: The optimizer's state.
        ema_params: Exponential moving average of `params`; what sampling uses.

    The same class holds the shapes and the shardings of these, so its fields are trees of anything.
    """

    step: PyTree
    params: PyTree
    opt_state: PyTree
    ema_params: PyTree

    @classmethod
    def create(cls, params: Params, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first update; the average starts at `params`."""
        # A copy, because the step donates the state and a buffer can be donated once only.
        ema_params = jax.tree.map(jnp.copy, params)
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params), ema_params)


def make_train_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, ema_decay: float, seed: int
) -> Callable[[TrainState, Params, Batch], tuple[TrainState, Metrics]]:
    """Builds `train_step(state, frozen, batch) -> (state, metrics)`, pure and ready to be jitted.

    All randomness of a step comes from `fold_in(key(seed), state.step)`, so a resumed run draws what an
    uninterrupted one draws and no generator needs saving.

    Args:
        loss_fn: The stage's loss.
        optimizer: The update rule.
        ema_decay: Decay of the average once warmed up; at step n it is at most `(1 + n) / (10 + n)`.
        seed: Seed of the run.
    """

    def train_step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        gradients, metrics = jax.grad(loss_fn, has_aux=True)(state.params, frozen, batch, key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        # In this form the average of what does not change keeps its bits.
        ema_params = jax.tree.map(lambda mean, new: mean + (1.0 - decay) * (new - mean), state.ema_params, params)
        metrics["grad_norm"] = clu_metrics.Average.from_model_output(optax.global_norm(gradients)[None])
        return TrainState(state.step + 1, params, opt_state, ema_params), metrics

    return train_step


def average(values: jax.Array, mask: jax.Array | None = None) -> clu_metrics.Average:
    """The average of `values` `[B]` over the samples where `mask` `[B]` is true (all when None)."""
    return clu_metrics.Average.from_model_output(values, mask=mask)


def merge_metrics(left: Metrics, right: Metrics) -> Metrics:
    """Merges two windows of running averages, name by name."""
    return {name: left[name].merge(right[name]) for name in left}
