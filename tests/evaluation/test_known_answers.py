"""Scores of clips with known faults: each that should notice does, the more the stronger the fault."""

import cv2
import numpy as np
import pytest

from sr_jax.configs.evaluate import get_config
from sr_jax.evaluation.frechet import frechet_distances
from sr_jax.evaluation.metrics.base import Clip, find_metric
from tests.evaluation.noise import with_noise

STRENGTHS = (0, 1, 2, 4)


def _clip() -> np.ndarray:
    """A texture that slides by two pixels a frame, `[8, 72, 96, 3]`."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (72, 120, 3)).astype(np.float32), (0, 0), 2)
    texture = np.clip(128 + 6 * (texture - texture.mean()), 0, 255).astype(np.uint8)
    return np.stack([texture[:, 2 * frame : 2 * frame + 96] for frame in range(8)])


def _blurred(frames: np.ndarray, strength: int) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), strength) if strength else frame for frame in frames])


def _shuffled(frames: np.ndarray, strength: int) -> np.ndarray:
    """Neighbours swap places, in so many places."""
    order = np.arange(len(frames))
    for place in range(strength):
        order[[2 * place, 2 * place + 1]] = order[[2 * place + 1, 2 * place]]
    return frames[order]


def _dropped(frames: np.ndarray, strength: int) -> np.ndarray:
    """So many frames stand still and show the one before."""
    kept = frames.copy()
    for number in range(1, strength + 1):
        kept[number] = frames[0]
    return kept


FAULTS = {
    "blur": _blurred,
    "noise": lambda frames, strength: with_noise(frames, 12 * strength),
    "shuffle": _shuffled,
    "drop": _dropped,
}


def _value(name: str, frames: np.ndarray) -> float:
    metric, clip = find_metric(name)(get_config("clips")), Clip("a", _clip(), video=frames)
    if metric.level == "clip":
        return metric.measure(clip).value
    return float(metric.value(metric.features(clip)[None], metric.features(clip.real())[None], np.ones((1, 1), int))[0])


@pytest.mark.parametrize(
    ("name", "fault", "sign"),
    [
        *[(name, fault, -1) for name in ("psnr", "ssim") for fault in FAULTS],
        ("motion_score", "shuffle", +1),
        ("motion_score", "drop", +1),
        ("motion_magnitude", "shuffle", +1),
        ("temporal_flicker", "shuffle", -1),
        ("temporal_flicker", "noise", -1),
    ],
)
def test_a_fault_is_noticed_the_more_the_stronger_it_is(name, fault, sign):
    values = [sign * _value(name, FAULTS[fault](_clip(), strength)) for strength in STRENGTHS]
    assert values == sorted(values) and values[0] < values[1] and values[2] < values[3]


def test_a_distance_of_sets_grows_with_what_was_done_to_one():
    real = np.random.default_rng(0).standard_normal((30, 6))
    spoilt = np.random.default_rng(1).standard_normal((30, 6))
    ones = np.ones((1, 30), int)
    values = [float(frechet_distances(real + strength * spoilt, real, ones)[0]) for strength in (0.0, 0.3, 1.0, 3.0)]
    assert values[0] == pytest.approx(0, abs=1e-10) and values == sorted(values)
