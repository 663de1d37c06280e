import numpy as np
import pytest

from sr_jax.configs.evaluate import get_config
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.base import build_available
from sr_jax.evaluation.metrics.lpips import distances, params_from_state_dicts
from sr_jax.evaluation.weights import KnownFile, MissingWeightsError
from tests.comparison import relative_error
from tests.evaluation.noise import with_noise
from tests.originals.recording import random_weights

WIDTHS = (4, 6, 6, 5, 5)


def _state_dicts() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    sides, places, before = (11, 5, 3, 3, 3), (0, 3, 6, 8, 10), (3, *WIDTHS)
    shapes = {
        f"features.{place}.weight": (w, b, s, s) for place, w, b, s in zip(places, WIDTHS, before, sides, strict=False)
    }
    shapes |= {f"features.{place}.bias": (width,) for place, width in zip(places, WIDTHS, strict=True)}
    trunk = random_weights(shapes, 0, lambda _, s, noise: noise / np.sqrt(np.float32(np.prod(s[1:]))))
    heads = {f"lin{number}.model.1.weight": (1, width, 1, 1) for number, width in enumerate(WIDTHS)}
    return trunk, random_weights(heads, 1, lambda _, s, noise: np.abs(noise))


def _frames(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(3, 64, 80, 3), (2, 51, 67, 3)])
def test_distances_are_those_of_pytorch(original, shape):
    trunk, heads = _state_dicts()
    ours, real = _frames(shape), with_noise(_frames(shape), 90)
    expected = original("lpips").distances(trunk, heads, ours, real)
    found = distances(params_from_state_dicts(trunk, heads, WIDTHS), WIDTHS)(ours, real)
    assert (expected > 1e-3).all() and relative_error(found, expected) < 1e-5


def test_equal_frames_have_no_distance_and_more_noise_has_more():
    of = distances(params_from_state_dicts(*_state_dicts(), WIDTHS), WIDTHS)
    frames = np.kron(_frames((2, 8, 10, 3)), np.ones((1, 8, 8, 1), np.uint8))
    found = [float(of(with_noise(frames, strength), frames).mean()) for strength in (0, 10, 40, 120)]
    assert found[0] < 1e-6 < found[1] and found == sorted(found)


def test_what_does_not_belong_is_named():
    trunk, heads = _state_dicts()
    with pytest.raises(UserError, match=r"features\.0\.weight \(4, 3, 11, 11\) instead of"):
        params_from_state_dicts(trunk, heads)
    with pytest.raises(UserError, match=r"missing: lin4\.model\.1\.weight"):
        params_from_state_dicts(trunk, {name: head for name, head in heads.items() if "lin4" not in name}, WIDTHS)


def test_missing_weights_leave_out_their_metric_and_name_the_file(tmp_path):
    config = get_config("clips")
    config.metrics = ("psnr", "lpips", "fid")
    metrics, left_out = build_available(config)
    assert list(metrics) == ["psnr"]
    assert left_out["lpips"].startswith(
        "it needs alexnet-owt-7be5be79.pth of torchvision (BSD-3-Clause), whose sha256 "
    )
    assert "name it as config.inception_path" in left_out["fid"]
    config.metrics = ("lpips",)
    with pytest.raises(UserError, match=r"lpips: it needs alexnet-owt-7be5be79\.pth"):
        build_available(config)
    known = KnownFile("a.pth", "7be5be79", "someone", "a_path")
    (tmp_path / "a.pth").write_bytes(b"another file")
    with pytest.raises(MissingWeightsError, match=r"a\.pth with sha256 [0-9a-f]{16}…: name a\.pth of someone"):
        known.locate(str(tmp_path / "a.pth"))
    with pytest.raises(MissingWeightsError, match="which is no file"):
        known.locate(str(tmp_path / "b.pth"))
