"""The alignment objectives of a stage, together: their networks, their weights, and what they add to the loss."""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sr_jax.alignment.base import Context, Objective, Term, View, build_objective
from sr_jax.alignment.weights import RunningSimilarity, WeightSchedule, weight_schedule
from sr_jax.backbones.base import Backbone
from sr_jax.checkpoints.reading import read_meta
from sr_jax.diffusion.process import Process
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.training.stages import similarity_metric
from sr_jax.training.state import Drawn, Metrics, Progress, Running, average


@dataclasses.dataclass(frozen=True)
class Weighted:
    """An objective and its weight; one that never counts is there for what another one reads of it."""

    weight: WeightSchedule
    objective: Objective


@dataclasses.dataclass(frozen=True)
class Objectives:
    """Any number of objectives.

    Attributes:
        weighted: By name, each behind those whose outputs it reads.
    """

    weighted: Mapping[str, Weighted]

    @property
    def modules(self) -> dict[str, Functional]:
        """What they train beside the transformer, by its name among all parameters."""
        return {
            _projector(name, part): module
            for name, item in self.weighted.items()
            for part, module in item.objective.trained.items()
        }

    @property
    def fields(self) -> dict[str, str]:
        """The fields of records that they read, with their axes."""
        return {name: axes for item in self.weighted.values() for name, axes in item.objective.fields.items()}

    @property
    def taps(self) -> tuple[int, ...]:
        """The blocks of the transformer that they look behind."""
        return tuple(sorted({tap for item in self.weighted.values() for tap in item.objective.taps}))

    @property
    def running(self) -> Running:
        """The start of the running similarities of those that are switched off by them."""
        return {
            name: RunningSimilarity.start() for name, item in self.weighted.items() if item.weight.goes_by_similarity
        }

    def flops(self, size: tuple[int, int, int]) -> int:
        """Model FLOPs that a clip with latents of T, H and W adds, also while an objective is off."""
        return sum(item.objective.flops(size) for item in self.weighted.values())

    def draw(self, batch_size: int, progress: Progress) -> Drawn:
        """The weight at this step of each objective that counts, whatever the noise; the same for every sample."""
        weights = {
            name: item.weight.value(progress.step, progress.running.get(name))
            for name, item in self.weighted.items()
            if not item.weight.never_counts
        }
        similarities = {name: running.similarity for name, running in progress.running.items()}
        drawn = {"weight": weights, "running_similarity": similarities}
        return jax.tree.map(lambda value: jnp.full(batch_size, value, jnp.float32), drawn)

    def terms(
        self, params: Params, frozen: Params, view: View, drawn: Drawn, process: Process
    ) -> dict[str, tuple[Float[Array, " b"], Term]]:
        """Weights and terms of those that count.

        Where neither an objective's own weight nor that of one that reads it is above 0, its gradient is exactly 0,
        and so it is if its derivatives are not finite there.

        Args:
            params: All that is trained.
            frozen: All that is frozen.
            view: The batch, or some of its samples.
            drawn: What `draw` gave, of these samples.
            process: Whose times the view has.

        Raises:
            UserError: When one is to be switched off when similar, and measures no similarity.
        """
        weights = {
            name: weight * self.weighted[name].weight.noise_factor(view.times, process)
            for name, weight in drawn["weight"].items()
        }
        terms, outputs, counting = {}, {}, self._counting(weights, len(view.times))
        for name, item in self.weighted.items():
            objective, counts = item.objective, counting[name]
            trained = {part: params[_projector(name, part)] for part in objective.trained}
            seen = view.replace(clean=_open_to(counts, view.clean), hidden=_open_to(counts, view.hidden))
            read = {other: outputs[other] for other in objective.after}
            term = objective(_open_to(jnp.any(counts), trained), frozen, seen, read)
            outputs[name] = term.output
            if item.weight.goes_by_similarity and term.similarity is None:
                raise UserError(f"config.alignment.{name} measures no similarity: set its off_when_similar to 0")
            if name in weights:
                terms[name] = (weights[name], term)
        return terms

    def metrics(self, drawn: Drawn) -> Metrics:
        """The weights that change and the running similarities, as this step has them."""
        weights = drawn["weight"].items()
        values = {f"weight/{name}": value for name, value in weights if self.weighted[name].weight.changes}
        values |= {f"running_similarity/{name}": value for name, value in drawn["running_similarity"].items()}
        return {name: average(value) for name, value in values.items()}

    def advance(self, running: Running, metrics: Metrics) -> Running:
        """The running similarities after a step, by the similarities that it measured."""
        return {
            name: similarity.updated(
                metrics[similarity_metric(name)].total,
                metrics[similarity_metric(name)].count,
                self.weighted[name].weight.off_when_similar,
            )
            for name, similarity in running.items()
        }

    def _counting(self, weights: Mapping[str, Float[Array, " b"]], batch_size: int) -> dict[str, Bool[Array, " b"]]:
        """In which samples each objective counts, by itself or for one that reads it."""
        counting: dict[str, Bool[Array, " b"]] = {}
        # Those that read come after what they read.
        for name in reversed(self.weighted):
            own = weights[name] > 0 if name in weights else jnp.zeros(batch_size, bool)
            readers = [counting[other] for other in counting if name in self.weighted[other].objective.after]
            counting[name] = functools.reduce(operator.or_, readers, own)
        return counting


def build_objectives(
    fields: Mapping[str, Any], backbone: Backbone, process: Process, instead: Mapping[str, Any] | None
) -> Objectives:
    """The objectives of a config's `alignment` section whose weight is not 0, and those that they read.

    Args:
        fields: The whole config.
        backbone: Of the transformer.
        process: What it learns to predict.
        instead: Config of stage one for objectives that name no workdir of their own; None: that is an error.

    Raises:
        UserError: For an option that is none of its values, or a workdir that is not there or lacks what is needed.
    """
    sections: Mapping[str, Any] = fields.get("alignment", {})
    built: dict[str, Weighted] = {}

    def add(name: str, needed_by: str) -> None:
        if name in built:
            return
        if name not in sections:
            raise UserError(f"config.alignment.{needed_by} reads what {name} gives, which config.alignment lacks")
        section, weight = sections[name], weight_schedule(name, sections[name])
        module = _module_config(name, section, instead)
        context = Context(backbone, fields["dtype"], fields["remat"], module, process, name)
        objective = build_objective(name, section, context)
        for other in objective.after:
            add(other, name)
        built[name] = Weighted(weight, objective)

    for name, section in sections.items():
        if not weight_schedule(name, section).never_counts:
            add(name, name)
    return Objectives(built)


def _module_config(name: str, section: Mapping[str, Any], instead: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Config of the run whose networks an objective reads; `{}` for one that reads none."""
    if "module" not in section:
        return {}
    if section["module"]:
        config = read_meta(section["module"])["config"]
        if name not in config.get("train_modules", ()):
            raise UserError(
                f"config.alignment.{name}.module={section['module']} holds no {name} module: name the workdir of a "
                "stage one that trained one"
            )
        return config
    if instead is None:
        raise UserError(
            f"config.alignment.{name}.module is empty: name the workdir of a finished stage one, or set the weights of "
            "config.alignment to 0 for plain fine-tuning"
        )
    return instead


def _open_to(counts: Bool[Array, "*b"], tree: Any) -> Any:
    """The same values, through which gradients flow where it counts; elsewhere they are 0, also those that are NaN."""

    def one(x: Array) -> Array:
        return jnp.where(counts.reshape(*counts.shape, *[1] * (x.ndim - counts.ndim)), x, jax.lax.stop_gradient(x))

    return jax.tree.map(one, tree)


def _projector(objective: str, part: str) -> str:
    """The name of a trained network among all parameters."""
    return f"{objective}_{part}"
