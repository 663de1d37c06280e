"""Metrics of small readings: identity over time, flicker, and depth."""

import numpy as np
import pytest

from sr_jax.configs.evaluate import get_config
from sr_jax.evaluation.metrics.base import Clip, Faces, find_metric
from sr_jax.evaluation.metrics.depth_flicker import changes_along_flow
from sr_jax.evaluation.metrics.structure_consistency import depth_error


def _faces(cosines: list[float | None]) -> Faces:
    """Faces that are so alike to the first axis."""
    known = np.array([0.0 if cosine is None else cosine for cosine in cosines])
    found = np.array([cosine is not None for cosine in cosines])
    return Faces(np.stack([known, np.sqrt(1 - known**2)], axis=1) * found[:, None], found)


def _clip(cosines: list[float | None], anchor: Faces | None = None, **fields) -> Clip:
    frames = np.zeros((len(cosines), 4, 4, 3), np.uint8)
    real = _faces([1.0] * len(cosines))
    return Clip("a", frames, video=frames, faces=_faces(cosines), reference_faces=real, image_faces=anchor, **fields)


def _value(name: str, clip: Clip) -> float | None:
    return find_metric(name)(get_config("clips")).measure(clip).value


def test_identity_by_mean_worst_frame_drift_and_share():
    clip = _clip([0.9, 0.8, None, 0.6, 0.5])
    assert _value("id_score", clip) == pytest.approx(0.7)
    assert _value("id_worst", clip) == pytest.approx(0.5)
    # Exactly on a line that falls by 0.1 a frame.
    assert _value("id_drift", clip) == pytest.approx(-0.4)
    assert _value("face_share", clip) == pytest.approx(80)
    for name in ("id_score", "id_worst", "id_drift"):
        assert _value(name, _clip([None, None, None])) is None
    assert _value("id_drift", _clip([0.5, None, 0.5])) is None


def test_identity_is_held_against_the_reference_image_where_there_is_one():
    clip = _clip([0.6, 0.6, 0.6], _faces([0.6]))
    assert _value("id_score", clip) == pytest.approx(1.0) and _value("id_worst", clip) == pytest.approx(1.0)
    assert _value("id_score", _clip([0.6, 0.6, 0.6], _faces([None]))) is None
    # The real clip's own score is no matter of course then.
    assert _value("id_score", clip.real()) == pytest.approx(0.6)


def test_steadiness_is_vbenchs():
    video = np.zeros((4, 2, 2, 3), np.uint8)
    video[1], video[2], video[3] = 51, 0, 0
    clip = Clip("a", video, video=video)
    assert _value("temporal_flicker", clip) == pytest.approx((255 - (51 + 51 + 0) / 3) / 255)
    assert _value("temporal_flicker", Clip("a", video[2:], video=video[2:])) == 1.0


def test_depth_is_compared_after_scale_and_shift_of_the_whole_clip():
    reference = np.random.default_rng(0).uniform(2, 5, (3, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(depth_error(7 * reference - 3, reference), 0, atol=1e-4)
    # A constant depth says nothing: the error is the mean deviation.
    expected = 100 * np.abs(reference - reference.mean()).mean(axis=(1, 2)) / np.ptp(reference)
    np.testing.assert_allclose(depth_error(np.ones_like(reference), reference), expected, rtol=1e-5)
    noise = np.random.default_rng(1).standard_normal(reference.shape).astype(np.float32)
    errors = [depth_error(reference + strength * noise, reference).mean() for strength in (0.0, 0.1, 0.3, 1.0)]
    assert errors == sorted(errors)
    # The best scale by least squares, as NumPy finds it.
    design = np.stack([(reference + noise).ravel(), np.ones(reference.size)], axis=1)
    fitted = design @ np.linalg.lstsq(design, reference.ravel(), rcond=None)[0]
    expected = 100 * np.abs(fitted.reshape(reference.shape) - reference).mean(axis=(1, 2)) / np.ptp(reference)
    np.testing.assert_allclose(depth_error(reference + noise, reference), expected, rtol=1e-3)


def test_depth_that_moves_with_the_flow_does_not_flicker():
    ramp = np.linspace(0, 1, 40, dtype=np.float32)
    depth = np.stack([np.tile(np.roll(ramp, 2 * t)[10:30], (10, 1)) for t in range(3)])
    flow = np.zeros((2, 10, 20, 2))
    still = changes_along_flow(depth, flow)
    flow[..., 0] = 2 * 100 / 10
    np.testing.assert_allclose(changes_along_flow(depth, flow), 0, atol=1e-3)
    np.testing.assert_allclose(still, 100 * (2 / 39) / np.ptp(depth), rtol=1e-3)
    np.testing.assert_allclose(changes_along_flow(5 * depth + 2, flow * 0), still, rtol=1e-3)
