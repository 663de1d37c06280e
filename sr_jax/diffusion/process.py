"""What a diffusion process is to training and sampling, whatever the network predicts."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Shaped


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of one sampling run, as 1-D arrays of `num_inference_steps` values.

    Every step is linear: `z_next = keep * zt + clean * z0_hat + previous * z0_before + noise * fresh_noise`, with
    `z0_hat` the clean latent predicted now and `z0_before` the one predicted a step earlier.

    Attributes:
        times: Of the noisy latents, as the network takes them; they fall.
        keep: Factor of the noisy latent.
        clean: Factor of the predicted clean latent.
        previous: Factor of the clean latent predicted one step earlier.
        noise: Factor of fresh unit noise.
    """

    times: Shaped[np.ndarray, " n"]
    keep: Float[np.ndarray, " n"]
    clean: Float[np.ndarray, " n"]
    previous: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, " n"]


@runtime_checkable
class Process(Protocol):
    """From clean latents to noise, and what the network predicts in between.

    Times are what the network takes: of a type and a range of the process's own, larger with more noise.
    """

    clean_time: float
    """The time of latents without noise."""
    noise_time: float
    """The time of pure noise, which no latents of training need have."""
    sampler: str
    """What to sample with where nobody says otherwise."""
    constants: Mapping[str, Any]
    """What noise and targets of training depend on, by name: a network goes with the constants it was trained with."""

    def times_at(self, shares: Float[Array, " b"]) -> Shaped[Array, " b"]:
        """The times at shares of noise in `[0, 1)`: parts of the way from `clean_time` to `noise_time`."""
        ...

    def snr(self, times: Shaped[Array, " b"]) -> Float[Array, " b"]:
        """Signal-to-noise ratio: the square of what `zt` holds of `z0` over that of the noise.

        0 for pure noise, infinite for latents without any; float32.
        """
        ...

    def add_noise(
        self, clean: Float[Array, "b *shape"], noise: Float[Array, "b *shape"], times: Shaped[Array, " b"]
    ) -> Float[Array, "b *shape"]:
        """The noisy latent `zt` of clean latents `z0` and unit noise."""
        ...

    def target(
        self, clean: Float[Array, "b *shape"], noise: Float[Array, "b *shape"], times: Shaped[Array, " b"]
    ) -> Float[Array, "b *shape"]:
        """What the network learns to predict."""
        ...

    def predict_clean(
        self, noisy: Float[Array, "b *shape"], prediction: Float[Array, "b *shape"], times: Shaped[Array, " b"]
    ) -> Float[Array, "b *shape"]:
        """The clean latent `z0_hat` that a noisy latent and the network's prediction imply, float32."""
        ...

    def bins(self) -> Mapping[str, tuple[float, float]]:
        """Ranges of times `[low, high)`, in which losses are logged, by what the log calls them."""
        ...

    def steps(self, sampler: str, num_inference_steps: int) -> Steps:
        """The steps of a sampler; of the process's own where the name is empty.

        Raises:
            UserError: For an unknown sampler or an impossible number of steps.
        """
        ...
