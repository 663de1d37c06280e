"""How often training sees which amount of noise: densities of the share of noise, and draws from them.

A share of noise is where a time lies between a process's clean time (0) and that of pure noise (1). Every density is
drawn from through its inverse distribution function, so that any of them can be restricted and stratified.
"""

import dataclasses
import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from sr_jax.errors import UserError

DENSITIES = ("uniform", "logit_normal")
"""The densities, before the shift."""
_LEAST_MASS = 1e-4
"""Of a density's draws, so many must lie in the range: from less, float32 makes no fine steps."""


@dataclasses.dataclass(frozen=True)
class TimeDensity:
    """The density of a config's `times` section; the defaults are those of the CogVideoX trainers, but stratified.

    Attributes:
        density: One of `DENSITIES`. "logit_normal": `log(x / (1 - x))` of a share `x` is normal (Esser et al. 2024,
            "Scaling Rectified Flow Transformers", equation 19; diffusers: `compute_density_for_timestep_sampling`).
        mean: Of that normal; above 0 it leans to noise.
        std: Of that normal.
        shift: `s` in `s x / (1 + (s - 1) x)`, which takes the place of a share `x`; above 1 it leans to noise (ibid.
            equation 23; the `shift` of diffusers' `FlowMatchEulerDiscreteScheduler`).
        stratified: Whether a batch has exactly one share in each of so many parts of equal probability, not
            independent ones.
        least: Shares are at least this. The range is one of shifted shares, within which the density keeps its form.
        largest: Shares are less than this.
    """

    density: str = "uniform"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    stratified: bool = True
    least: float = 0.0
    largest: float = 1.0

    def __post_init__(self) -> None:
        """Checks what a config says.

        Raises:
            UserError: For an unknown density, a range that is none, or one in which the density has hardly any draws.
        """
        if self.density not in DENSITIES:
            raise UserError(f"config.times.density is {self.density!r}: choose one of {', '.join(DENSITIES)}")
        if not self.std > 0 or not self.shift > 0:
            raise UserError(f"config.times has std={self.std} and shift={self.shift}: both must be more than 0")
        if not 0 <= self.least < self.largest <= 1:
            raise UserError(
                f"config.times has least={self.least} and largest={self.largest}: they must be shares of noise from 0 "
                "to 1, the least below the largest"
            )
        if self._cdf(self.largest) - self._cdf(self.least) < _LEAST_MASS:
            raise UserError(
                f"config.times draws shares of noise from least={self.least} to largest={self.largest}, where "
                f"{self.density} with mean={self.mean}, std={self.std} and shift={self.shift} has next to none: widen "
                "the range"
            )

    def sample(self, batch_size: int, key: jax.Array) -> Float[Array, "{batch_size}"]:
        """Draws the shares of noise of a global batch, in `[least, largest)`.

        Each has the whole density. Where they are stratified, sample i has the quantile `(u + i / batch_size) mod 1`
        with one random `u` for all: this gives the batch's mean loss less variance than independent draws do (Kingma
        et al. 2021, "Variational Diffusion Models", appendix I.1). Which clip is sample i is random, too.
        """
        if self.stratified:
            return self.quantile((jax.random.uniform(key) + jnp.arange(batch_size) / batch_size) % 1.0)
        return self.quantile(jax.random.uniform(key, (batch_size,)))

    def quantile(self, probability: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The inverse distribution function: below which share a part of all draws lies.

        Args:
            probability: 0 to 1, without 1.
        """
        low, high = self._cdf(self.least), self._cdf(self.largest)
        share = low + (high - low) * probability
        if self.density == "logit_normal":
            share = jax.nn.sigmoid(self.mean + self.std * ndtri(share))
        share = self.shift * share / (1 + (self.shift - 1) * share)
        # Rounding may leave the range. The margins keep whole timesteps, rounded products with the share, inside too.
        return jnp.clip(share, self.least * (1 + 2**-22), self.largest * (1 - 2**-22))

    def _cdf(self, share: float) -> float:
        """The part of all draws, were their range not restricted, that is below a share; float64."""
        share = share / (share + self.shift * (1 - share))
        if self.density == "uniform" or share in (0, 1):
            return share
        return NormalDist(self.mean, self.std).cdf(math.log(share / (1 - share)))
