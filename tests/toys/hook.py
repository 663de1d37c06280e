"""A hook in one file: how far the average lies from the parameters."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import optax

from sr_jax.training.hooks import Hook, RunParts
from sr_jax.training.state import TrainState


class Distance:
    name, every_steps = "average", 100
    directions: ClassVar[Mapping[str, int]] = {"average/distance": -1}

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        difference = jax.tree.map(lambda mean, new: mean - new, state.ema_params, state.params)
        return {"average/distance": float(optax.global_norm(difference))}


def make(run: RunParts) -> Hook:
    return Distance()
