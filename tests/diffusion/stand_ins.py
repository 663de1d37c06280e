"""What the samplers here and those of diffusers are given alike: a network and noise."""

import zlib

import jax
import numpy as np


def velocity(xp, z, timestep):
    """A stand-in for a network: bounded, and different at every timestep.

    Args:
        xp: The library of `z`: NumPy, `jax.numpy` or PyTorch.
        z: Noisy latents.
        timestep: One for all of them.
    """
    return xp.tanh(1.7 * z + 0.002 * timestep) - 0.3 * xp.sin(3.0 * z)


def step_noise(seed: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """The noise that our "dpm" draws in a step, with the key of a seed."""
    return np.array(jax.random.normal(jax.random.fold_in(jax.random.key(seed), step), shape))


def checksum(timesteps: np.ndarray) -> int:
    """A number that stands for whole numbers up to 1000 and their order."""
    return zlib.crc32(timesteps.astype("<i2").tobytes())
