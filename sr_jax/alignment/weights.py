"""What an objective counts: its weight from step to step, and by the noise in a sample.

The keys lie in the objective's section of a config, beside its weight; without any of them the weight is constant:

    config.alignment.structure.update(warmup_steps=100, decay="cosine", decay_steps=2000, off_after=2000)

The weight of a sample at a step is `value(step) * noise_factor(times)`. Constant is what REPA uses (0.5); switched off
after a step are HASTE's objectives (train.py: 250,000 of 400,000 or more); warm-up, decay and the switch-off when
similar are those of SimpleTuner for CREPA (VIDEO_CREPA.md: videos get stripes and look washed out without).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PyTree, Shaped

from sr_jax.diffusion.process import Process
from sr_jax.errors import UserError

DECAYS = ("none", "linear", "cosine")
"""How a weight falls behind its warm-up."""
NOISE_WEIGHTINGS = ("none", "linear", "signal")
"""How a weight depends on the noise within the range of times in which it counts."""
SIMILARITY_DECAY = 0.99
"""Of the running mean of the similarity, per step (SimpleTuner)."""


@struct.dataclass
class RunningSimilarity:
    """How similar a student has become to its teacher: what decides that an objective is off for good.

    Attributes:
        similarity: Running mean of the batches' mean similarities: over all of them at first, and from the hundredth
            on with a decay of `SIMILARITY_DECAY`. (A mean that starts at 0 and decays from the first would lag behind
            by hundreds of steps.)
        measured: Of how many batches.
        off: Whether it has come to the threshold; it stays so, whatever the similarity does.

    Scalars; the same class holds their shapes and shardings.
    """

    similarity: PyTree
    measured: PyTree
    off: PyTree

    @classmethod
    def start(cls) -> "RunningSimilarity":
        """Nothing is measured yet. The arrays are of NumPy: no device holds them."""
        return cls(np.zeros((), np.float32), np.zeros((), np.int32), np.zeros((), bool))

    def updated(self, total: Float[Array, ""], count: Shaped[Array, ""], threshold: float) -> "RunningSimilarity":
        """After a step; as it was when the batch has none, or one that is not finite.

        Args:
            total: Sum of the similarities of a batch's samples.
            count: Of how many samples.
            threshold: Running mean at which the objective is off.
        """
        mean = total / jnp.maximum(count, 1)
        counts = (count > 0) & jnp.isfinite(mean)
        measured = self.measured + counts
        rate = jnp.maximum(1.0 - SIMILARITY_DECAY, 1.0 / jnp.maximum(measured, 1))
        similarity = jnp.where(counts, self.similarity + rate * (mean - self.similarity), self.similarity)
        return RunningSimilarity(similarity, measured, self.off | (similarity >= threshold))


@dataclasses.dataclass(frozen=True)
class WeightSchedule:
    """The weight of an objective over time.

    It rises from 0 in `warmup_steps`, stays for `hold_steps`, falls in `decay_steps`, and stays at what is left. Steps
    are batches taken before: the first step of a run is step 0, and has a weight of 0 where there is a warm-up.

    Attributes:
        weight: The full weight: lambda_S and lambda_ID of the paper.
        warmup_steps: Steps in which it rises from 0, linearly.
        hold_steps: Steps at the full weight between warm-up and decay.
        decay: How it falls, one of `DECAYS`.
        decay_steps: Steps in which it falls.
        final_share: What is left of it then, as a share of the full weight.
        off_after: How many steps it counts at all; 0: all of them.
        off_when_similar: Running mean of the objective's similarity at which it is off for good; 0: never.
        least_noise: Least share of noise of the times at which it counts; the share is 0 at the process's clean time
            and 1 at its time of pure noise, evenly in between.
        largest_noise: The largest. Both belong to the range.
        noise_weighting: One of `NOISE_WEIGHTINGS`: "linear" is 1 - share of noise, "signal" the share of the signal in
            the variance, `snr / (snr + 1)`, which goes by the noise schedule and not by its times.
    """

    weight: float
    warmup_steps: int = 0
    hold_steps: int = 0
    decay: str = "none"
    decay_steps: int = 0
    final_share: float = 0.0
    off_after: int = 0
    off_when_similar: float = 0.0
    least_noise: float = 0.0
    largest_noise: float = 1.0
    noise_weighting: str = "none"

    @property
    def never_counts(self) -> bool:
        """Whether it is certain that it is 0 at every step."""
        return not self.weight

    @property
    def changes(self) -> bool:
        """Whether it is another one at some step than at others."""
        return bool(self.warmup_steps or self.decay != "none" or self.off_after or self.off_when_similar)

    @property
    def goes_by_similarity(self) -> bool:
        """Whether it needs a running similarity."""
        return bool(self.weight and self.off_when_similar)

    def value(self, step: Int[Array, ""], running: RunningSimilarity | None = None) -> Float[Array, ""]:
        """The weight at a step, whatever the noise.

        Args:
            step: Batches taken before.
            running: Of the objective, where it goes by similarity.
        """
        parts = [optax.linear_schedule(0.0, self.weight, self.warmup_steps), optax.constant_schedule(self.weight)]
        ends = np.cumsum([self.warmup_steps, self.hold_steps]).tolist()
        # A part without steps is never the one that holds.
        value = jnp.asarray(optax.join_schedules([*parts, self._decay()], ends)(step), jnp.float32)
        off = jnp.zeros((), bool) if running is None else running.off
        if self.off_after:
            off |= step >= self.off_after
        return jnp.where(off, 0.0, value)

    def _decay(self) -> optax.Schedule:
        if self.decay == "linear":
            return optax.linear_schedule(self.weight, self.weight * self.final_share, self.decay_steps)
        if self.decay == "cosine":
            return optax.cosine_decay_schedule(self.weight, self.decay_steps, self.final_share)
        return optax.constant_schedule(self.weight)

    def noise_factor(self, times: Shaped[Array, " b"], process: Process) -> Float[Array, " b"]:
        """What the weight of each sample is multiplied with, 0 to 1: exactly 0 outside of the range.

        Args:
            times: Of the samples.
            process: Whose times they are.
        """
        share = noise_share(times, process)
        factor = jnp.ones_like(share)
        if self.noise_weighting == "linear":
            factor = 1.0 - share
        elif self.noise_weighting == "signal":
            # Also where the ratio is 0 or infinite.
            factor = 1.0 / (1.0 + 1.0 / process.snr(times))
        return jnp.where((share >= self.least_noise) & (share <= self.largest_noise), factor, 0.0)


def noise_share(times: Shaped[Array, " b"], process: Process) -> Float[Array, " b"]:
    """How far times are on the way from clean latents, 0, to pure noise, 1."""
    return (times - process.clean_time).astype(jnp.float32) / (process.noise_time - process.clean_time)


def weight_schedule(name: str, section: Mapping[str, Any]) -> WeightSchedule:
    """The schedule in an objective's section of a config, whose other keys are the objective's.

    Args:
        name: The section's, for messages.
        section: The section; it has a `weight`, and any of the other keys.

    Raises:
        UserError: For keys that say nothing together, or contradict each other.
    """
    keys, where = [field.name for field in dataclasses.fields(WeightSchedule)], f"config.alignment.{name}"
    schedule = WeightSchedule(**{key: section[key] for key in keys if key in section})
    for key, choices in (("decay", DECAYS), ("noise_weighting", NOISE_WEIGHTINGS)):
        if getattr(schedule, key) not in choices:
            raise UserError(f"{where}.{key} is {getattr(schedule, key)!r}: choose one of {', '.join(choices)}")
    if schedule.decay != "none" and not schedule.decay_steps:
        raise UserError(f"{where}.decay is {schedule.decay!r} and takes no steps: set {where}.decay_steps")
    for key in ("hold_steps", "decay_steps", "final_share"):
        if schedule.decay == "none" and getattr(schedule, key):
            raise UserError(f"{where}.{key} is of a decay, and there is none: set {where}.decay to linear or cosine")
    if schedule.least_noise > schedule.largest_noise:
        raise UserError(
            f"{where}.least_noise is {schedule.least_noise:g}, more than its largest_noise {schedule.largest_noise:g}: "
            "no time is in that range"
        )
    return schedule
