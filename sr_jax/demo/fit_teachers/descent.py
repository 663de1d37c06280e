"""Gradient descent for the small networks of the demo, which goes on where it was stopped."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from tqdm import tqdm

from sr_jax.errors import UserError
from sr_jax.outputs import replacing

_SECONDS_BETWEEN_SAVES = 300


@dataclass(frozen=True)
class FitSchedule:
    """How long and how fast a small network learns.

    Attributes:
        steps: Updates.
        batch_size: Frames or clips in an update.
        learning_rate: Peak of a one-cycle schedule.
    """

    steps: int
    batch_size: int
    learning_rate: float

    def rate(self) -> optax.Schedule:
        """The learning rate by step."""
        return optax.cosine_onecycle_schedule(self.steps, self.learning_rate, 0.2)


def adamw(schedule: FitSchedule) -> optax.GradientTransformation:
    """The rule of the face networks."""
    return optax.adamw(schedule.rate(), weight_decay=1e-3)


def minimise(
    loss: Callable[[Any, Any, Array, Array], Array],
    params: Any,
    data: Any,
    schedule: FitSchedule,
    rule: optax.GradientTransformation,
    key: Array,
    description: str,
    *,
    bar_line: int,
    progress_file: Path | None = None,
) -> Any:
    """Minimises `loss(params, data, key, progress)`, behind a clip of the gradient's norm at 1.

    Args:
        loss: Of the parameters, the data, a key of the step, and the share of the steps that are done.
        params: Where it starts.
        data: Arrays that `loss` draws from.
        schedule: How long.
        rule: The optimizer.
        key: Of all draws.
        description: What the progress bar says.
        bar_line: Places the progress bar.
        progress_file: Where to keep the state, every few minutes, and where to go on from; None for neither.

    Raises:
        UserError: If the file is of another run.
    """
    rule = optax.chain(optax.clip_by_global_norm(1.0), rule)

    @jax.jit
    def update(params: Any, state: Any, data: Any, key: Array, step: Array) -> tuple[Any, Any, Array]:
        value, gradients = jax.value_and_grad(loss)(params, data, jax.random.fold_in(key, step), step / schedule.steps)
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    data = jax.device_put(data)
    state, done = (params, rule.init(params)), 0
    if progress_file is not None and progress_file.exists():
        state, done = _read(progress_file, state)
    saved = time.monotonic()
    with tqdm(range(done, schedule.steps), desc=description, unit="step", position=bar_line) as bar:
        for step in bar:
            *state, value = update(*state, data, key, jnp.asarray(step))
            if step % 20 == 0:
                bar.set_postfix(loss=f"{float(value):.3f}")
            if progress_file is not None and time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                _write(progress_file, tuple(state), step + 1)
                saved = time.monotonic()
    if progress_file is not None:
        _write(progress_file, tuple(state), schedule.steps)
    return state[0]


def _write(path: Path, state: Any, done: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {str(number): np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, done=done, **leaves)


def _read(path: Path, like: Any) -> tuple[Any, int]:
    leaves, structure = jax.tree.flatten(like)
    with np.load(path, allow_pickle=False) as stored:
        found = [stored[str(number)] for number in range(len(stored.files) - 1)]
        done = int(stored["done"])
    if [leaf.shape for leaf in found] != [np.shape(leaf) for leaf in leaves]:
        raise UserError(f"{path} is of a network of another size: remove it, or use another folder")
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in found]), done
