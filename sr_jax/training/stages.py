"""What a stage is to the trainer, and what stages share.

A stage is its networks and pure functions: `draw(frozen, batch, key, progress) -> drawn` makes every random choice,
`loss(params, frozen, drawn) -> (loss, metrics)` none, and `advance(running, metrics) -> running` carries on what else
changes from step to step. The trainer (`loop.py`) knows nothing else about it. The stages
are in `denoising.py` (base run and stage two) and `alignment_modules.py` (stage one).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from sr_jax.alignment.base import Term
from sr_jax.diffusion.process import Process
from sr_jax.models.functional import Functional, Params
from sr_jax.training.state import Drawn, Loss, Metrics, Running, average

Terms = Mapping[str, tuple[Float[Array, " b"], Term]]
"""The parts of a loss by name: what each sample of one counts, and its values."""


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What a loss reads and never changes.

    Attributes:
        abstract: `Functional.abstract` of a network, or a `jax.ShapeDtypeStruct`.
        read: Reads it, as arrays of any kind (`parallel.lazy`), from the checkpoint of a step; the newest when None.
        source: Workdir that it comes from, which a run must not find changed; empty where it is a part of the dataset.
    """

    abstract: Any
    read: Callable[[int | None], Any]
    source: str = ""

    @property
    def is_network(self) -> bool:
        """Whether it is a network, and not one array."""
        return not isinstance(self.abstract, jax.ShapeDtypeStruct)


class Work(NamedTuple):
    """What one clip costs in training.

    Attributes:
        flops: Model FLOPs: forward and backward pass, without anything that is computed twice to save memory. The
            gradients with respect to the data are counted though no one needs them: at released sizes below 0.1%.
        tokens: Tokens that the trained transformer reads; those of the structure module in stage one.
    """

    flops: int
    tokens: int


@runtime_checkable
class Stage(Loss, Protocol):
    """What the trainer needs to know about a stage.

    Attributes:
        modules: The trained networks; `params` is a dict with the same keys.
        frozen: What `draw` and `loss` read besides, by the same keys as their argument `frozen`.
        fields: The fields of records that it reads, with their axes (`data.fields`).
        running: What it carries from step to step besides, as it is at the start.
        process: Whose times the noise has.
    """

    modules: Mapping[str, Functional]
    frozen: Mapping[str, Frozen]
    fields: Mapping[str, str]
    running: Running
    process: Process

    def start(self) -> Params:
        """The parameters that do not start fresh, as arrays of any kind: a part of the tree of all parameters.

        Raises:
            UserError: When what the config names is not there, or does not fit.
        """
        ...

    def terms(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[Terms, Shaped[Array, " b"] | None]:
        """The parts of the loss of what `draw` returned, sample by sample, and their times; no sample reads another.

        The times are None where the stage adds no noise.
        """
        ...

    def work(self, size: tuple[int, int, int], text_length: int) -> Work:
        """The work of one clip, with latents of T, H and W and so many text tokens."""
        ...


def sample_posterior(
    mean: Float[Array, "b t h w c"], std: Float[Array, "b t h w c"], key: jax.Array
) -> Float[Array, "b t h w c"]:
    """Draws `z0` from the codec's posterior, as the CogVideoX trainers do."""
    return mean + std * jax.random.normal(key, mean.shape)


def drop(
    values: Float[Array, "b *shape"],
    probability: float,
    key: jax.Array,
    *,
    instead: Float[Array, "*shape"] | float = 0.0,
) -> Float[Array, "b *shape"]:
    """Replaces whole samples with the given probability."""
    keep = jax.random.bernoulli(key, 1.0 - probability, values.shape[:1])
    return jnp.where(keep.reshape(-1, *[1] * (values.ndim - 1)), values, instead)


def similarity_metric(name: str) -> str:
    """The metric of the similarity that an objective measures."""
    return f"similarity/{name}"


def total_and_metrics(terms: Terms, process: Process, times: Shaped[Array, " b"] | None) -> tuple[jax.Array, Metrics]:
    """The sum of the batch means of weighted terms, and every term as a metric, overall and by range of times.

    In the total a sample that is not counted, or whose weight is 0, is a 0 among the others, whatever its value; the
    metrics of terms are without weights, and average over the samples that are counted. A similarity averages over
    those of them that have a weight.

    Args:
        terms: Weight of each sample and term by name.
        process: Its ranges of times.
        times: Of each sample; None when the stage adds no noise, and then there are no ranges.
    """
    total = sum(
        jnp.mean(jnp.where(term.counted & (weight > 0), weight * term.value, 0.0)) for weight, term in terms.values()
    )
    metrics = {"loss": average(total[None])}
    for name, (weight, term) in terms.items():
        if term.similarity is not None:
            metrics[similarity_metric(name)] = average(term.similarity, term.counted & (weight > 0))
        metrics[f"loss/{name}"] = average(term.value, term.counted)
        for label, (low, high) in process.bins().items() if times is not None else ():
            inside = term.counted & (times >= low) & (times < high)
            metrics[f"loss/{name}/{label}"] = average(term.value, inside)
    return total, metrics
