import numpy as np
import pytest

from sr_jax.demo.people.scenes import sample_camera

# Of 60 draws some are of every move.
SEEDS = range(60)


def _path(seed: int, seconds: float) -> tuple[np.ndarray, str]:
    """Where the camera is in 13 frames of a clip of this length, and what it does."""
    time = np.linspace(0, seconds, 13)
    camera, move = sample_camera(np.random.default_rng(seed), "hips up", 1.0, 0.0, time)
    return np.asarray(camera.position, np.float64), move


@pytest.mark.parametrize("seconds", [0.3, 1.5, 2.0])
def test_a_camera_is_as_fast_in_a_short_clip_as_in_a_long_one(seconds):
    seen = set()
    for seed in SEEDS:
        (path, move), (long, _) = _path(seed, seconds), _path(seed, 1.2)
        speed, expected = (
            np.linalg.norm(np.diff(x, axis=0), axis=1).mean() / (s / 12) for x, s in ((path, seconds), (long, 1.2))
        )
        assert speed == pytest.approx(expected, rel=0.02, abs=1e-5)
        assert (speed > 0.1) == (move != "still")
        seen.add(move)
    assert len(seen) == 7


def test_the_middle_of_a_move_is_the_middle_of_the_clip():
    for seed in SEEDS:
        np.testing.assert_allclose(_path(seed, 0.3)[0][6], _path(seed, 2.0)[0][6], atol=1e-5)
