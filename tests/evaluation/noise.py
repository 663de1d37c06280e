"""What may go wrong with a clip, by a strength."""

import numpy as np


def with_noise(frames: np.ndarray, strength: int) -> np.ndarray:
    """Every pixel is moved by up to `strength`, the same way each time."""
    noise = np.random.default_rng(0).integers(-strength, strength + 1, frames.shape)
    return np.clip(frames.astype(int) + noise, 0, 255).astype(np.uint8)
