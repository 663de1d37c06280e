import jax
import numpy as np
import pytest

from sr_jax.conversion.inception_v3 import convolutions, params_from_state_dict
from sr_jax.errors import UserError
from sr_jax.evaluation.inception import prepare
from sr_jax.models.functional import Functional
from sr_jax.models.inception_v3 import InceptionV3
from tests.comparison import relative_error
from tests.models.tiny_inception_v3 import DIVISOR, weights


def test_features_are_those_of_pytorch(original):
    params = params_from_state_dict(weights(original("inception_v3").shapes(DIVISOR)), DIVISOR)
    images = np.random.default_rng(0).integers(-127, 128, (2, 91, 107, 3)).astype(np.float32) / np.float32(128)
    expected = original("inception_v3").features(DIVISOR, images)
    network = Functional(lambda rngs: InceptionV3(DIVISOR, rngs=rngs))
    assert expected.shape == (2, 2048 // DIVISOR) and (expected > 0).mean() > 0.5
    assert relative_error(jax.jit(network.apply)(params, images), expected) < 1e-5


def test_the_full_size_is_as_published(original):
    shapes = original("inception_v3").shapes(1)
    kernels = [shapes[".".join(path) + ".conv.weight"] for path in convolutions()]
    # Inception v3 without its classifier has 21,785,568 parameters, of which 34,432 belong to norms.
    assert sum(np.prod(shape) for shape in kernels) == 21_785_568 - 34_432
    assert len(kernels) == 94


@pytest.mark.parametrize("size", [(20, 33), (61, 40)])
def test_frames_are_resized_as_in_tensorflow_1(original, size):
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = (original("inception_v3").stretched(frame.astype(np.float32), 47) - 128) / 128
    np.testing.assert_allclose(prepare(frame, 47), expected, atol=2e-5)


def test_what_does_not_belong_is_named(original):
    tensors = weights(original("inception_v3").shapes(DIVISOR)) | {"Mixed_9.weight": np.zeros(2, np.float32)}
    del tensors["Mixed_5b.branch1x1.bn.running_var"]
    with pytest.raises(UserError, match=r"missing: Mixed_5b\.branch1x1\.bn\.running_var; unexpected: Mixed_9\.weight"):
        params_from_state_dict(tensors, DIVISOR)
