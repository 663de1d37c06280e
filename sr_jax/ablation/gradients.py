"""The gradients of a run's losses: how long each is, and whether they pull the same way."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float

from sr_jax.ablation.readings import load_stage
from sr_jax.data.pipeline import train_batches
from sr_jax.diffusion.time_density import TimeDensity
from sr_jax.training.denoising import Denoising
from sr_jax.training.state import Drawn, Progress

RANGES = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
"""Shares of noise in which gradients are measured."""
DENOISING = "denoising"
"""The loss that every run has."""


def measure_gradients(
    config: ml_collections.ConfigDict, split: str, *, batches: int, ranges: Sequence[tuple[float, float]] = RANGES
) -> list[dict[str, Any]]:
    """The gradients of the denoising loss and of each objective's, by the transformer's parameters.

    Args:
        config: Of a stage two that starts from the transformer that is looked at, with the objectives' weights.
        split: On whose clips.
        batches: How many batches of `config.batch_size` clips in each range.
        ranges: Of shares of noise.

    Returns:
        For each range `low` and `high`; `weights`, what each loss counts; `norms`, the mean over batches of the length
        of its gradient, without its weight; and `cosines`, by "A, B", that of the cosine between two, None where one
        of them has no gradient.

    Raises:
        UserError: When what the config names is not there, or the split has fewer clips than a batch.
    """
    stage, params, frozen = load_stage(config)
    start, key = Progress(jnp.int32(0), stage.running), jax.random.key(config.seed)
    weights = {DENOISING: 1.0} | {name: config.alignment[name].weight for name in stage.objectives.weighted}
    weights = {name: weight for name, weight in weights.items() if weight}
    data = train_batches(
        config.data.dir, split=split, fields=tuple(stage.fields), batch_size=config.batch_size, seed=config.seed
    )
    read = [{name: np.asarray(x, np.float32) for name, x in batch.items()} for batch in itertools.islice(data, batches)]
    names, result = list(weights), []
    # Of any range, so that it is compiled once.
    measure = jax.jit(functools.partial(gram, stage, params, frozen, names=names))
    for low, high in ranges:
        within = dataclasses.replace(stage, density=TimeDensity(least=low, largest=high))
        draw = jax.jit(lambda frozen, batch, key, within=within: within.draw(frozen, batch, key, start))
        drawn = (draw(frozen, batch, jax.random.fold_in(key, number)) for number, batch in enumerate(read))
        grams = np.stack([np.asarray(measure(item)) for item in drawn])
        result.append({"low": low, "high": high, "weights": weights, **lengths_and_angles(grams, names)})
    return result


def gram(stage: Denoising, params: Any, frozen: Any, drawn: Drawn, names: Sequence[str]) -> Float[Array, "k k"]:
    """Inner products of the gradients of several losses of a batch, by the transformer's parameters alone."""

    def losses(transformer: Any) -> Float[Array, " k"]:
        _, metrics = stage.loss(params | {"transformer": transformer}, frozen, drawn)
        # As each counts in the total: a sample without it is a 0 among the others.
        return jnp.stack([metrics[f"loss/{name}"].total / len(drawn["times"]) for name in names])

    _, pull = jax.vjp(losses, params["transformer"])
    gradients = [jax.tree.leaves(pull(row)[0]) for row in jnp.eye(len(names))]
    products = [
        [sum(jnp.vdot(a, b) for a, b in zip(one, other, strict=True)) for other in gradients] for one in gradients
    ]
    return jnp.array(products)


def lengths_and_angles(grams: Float[np.ndarray, "b k k"], names: Sequence[str]) -> dict[str, Any]:
    """Mean lengths, and mean cosines of pairs, of vectors whose inner products are known for each of B batches."""
    lengths = np.sqrt(np.maximum(np.diagonal(grams, axis1=1, axis2=2), 0)).astype(np.float64)
    cosines: dict[str, float | None] = {}
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        there = (lengths[:, i] > 0) & (lengths[:, j] > 0)
        values = grams[there, i, j] / (lengths[there, i] * lengths[there, j])
        cosines[f"{one}, {other}"] = float(values.mean()) if there.any() else None
    return {"norms": dict(zip(names, lengths.mean(axis=0).tolist(), strict=True)), "cosines": cosines}
