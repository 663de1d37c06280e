import math

import jax
import numpy as np
import pytest

from sr_jax.conversion.mobilenet_v2 import params_from_state_dict
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.mobilenet_v2 import MobileNetV2, MobileNetV2Config
from tests.comparison import relative_error
from tests.models.tiny_mobilenet_v2 import SIZES, TINY, weights

RELEASED = {"stem": 32, "stages": MobileNetV2Config().stages, "features": 1280, "classes": 1000}


@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
def test_features_are_those_of_pytorch(original, size):
    params = params_from_state_dict(TINY, weights(original("mobilenet_v2").shapes(SIZES)))
    images = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    expected = original("mobilenet_v2").features(SIZES, images)
    network = Functional(lambda rngs: MobileNetV2(TINY, rngs=rngs))
    got = jax.jit(network.apply)(params, images)
    # Neither all off nor all cut.
    assert 0.2 < (expected > 0).mean() < 0.9 and (expected < 6).mean() > 0.5
    assert relative_error(got, expected) < 1e-5


def test_the_full_size_is_as_published(original):
    shapes = original("mobilenet_v2").shapes(RELEASED)
    learned = {name: shape for name, shape in shapes.items() if "running" not in name and "tracked" not in name}
    assert sum(map(math.prod, learned.values())) == 3_504_872
    assert len(shapes) == 314
    network = Functional(lambda rngs: MobileNetV2(MobileNetV2Config(), rngs=rngs))
    ours = sum(leaf.size for leaf in jax.tree.leaves(network.abstract_params()))
    # Of each norm, the scale is within the convolution.
    scales = sum(shape[0] for name, shape in shapes.items() if name.endswith("running_var"))
    assert ours == 3_504_872 - 1001 * 1000 - 280 * 1000 - scales


def test_what_does_not_belong_is_named(original):
    tensors = weights(original("mobilenet_v2").shapes(SIZES))
    for name, change, message in [
        ("features.2.conv.1.1.running_var", None, r"missing: features\.2\.conv\.1\.1\.running_var"),
        ("features.9.weight", np.zeros(2, np.float32), r"unexpected: features\.9\.weight"),
        ("features.0.1.bias", np.zeros(3, np.float32), r"features\.0\.1\.bias \(3,\) instead of \(4,\)"),
    ]:
        changed = dict(tensors) | ({} if change is None else {name: change})
        if change is None:
            del changed[name]
        with pytest.raises(UserError, match=message):
            params_from_state_dict(TINY, changed)
