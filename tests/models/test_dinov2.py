import jax
import numpy as np
import pytest

from sr_jax.models.dinov2 import DINOv2, cubic_weights
from sr_jax.models.functional import Functional
from tests.comparison import relative_error
from tests.models.tiny_dinov2 import OPTIONS, TINY, our_params, weights

TAPS = (0, 2, 3, 4)


@pytest.mark.parametrize("size", [(70, 70), (42, 98), (140, 84)])
def test_features_match_transformers(original, size):
    params = our_params(weights(original("dinov2").shapes(OPTIONS)))
    images = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    expected = original("dinov2").features(OPTIONS, images, TAPS)
    network = Functional(lambda rngs: DINOv2(TINY, rngs=rngs))
    got = jax.jit(network.apply, static_argnums=2)(params, images, TAPS)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == (2, size[0] // 14, size[1] // 14, TINY.hidden_size)
        assert relative_error(ours.reshape(theirs.shape), theirs) < 1e-5


@pytest.mark.parametrize(("length", "new_length"), [(37, 66), (37, 20), (5, 5), (5, 1), (16, 37)])
def test_positions_are_interpolated_as_pytorch_does_with_a_scale_factor(original, length, new_length):
    table = np.random.default_rng(1).standard_normal((length, 3)).astype(np.float32)
    expected = original("dinov2").interpolated(table, (new_length + 0.1) / length)
    np.testing.assert_allclose(cubic_weights(length, new_length, 0.1) @ table, expected, atol=1e-5)
