"""The state dict of FID's Inception v3, as pytorch-fid and torch-fidelity have it, to our parameters."""

from collections.abc import Mapping

import numpy as np
from flax import traverse_util

from sr_jax.conversion.rules import TensorRule, convert_state_dict
from sr_jax.models.functional import Functional, Params
from sr_jax.models.inception_v3 import BLOCKS, STEM, InceptionV3, layers_of

_EPSILON = 1e-3
"""Of its batch norms."""
_NORM = ("weight", "bias", "running_mean", "running_var")
_UNUSED = ("fc.", "AuxLogits.")


def params_from_state_dict(tensors: Mapping[str, np.ndarray], divisor: int = 1) -> Params:
    """Our parameters: every batch norm is folded into the convolution before it.

    Args:
        tensors: The whole state dict; the classifier, and counts of training steps, are left out.
        divisor: Of the network's widths.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    used = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(_UNUSED) and not name.endswith(".num_batches_tracked")
    }
    network = Functional(lambda rngs: InceptionV3(divisor, rngs=rngs))
    abstract = traverse_util.flatten_dict(network.abstract_params())
    rules, expected = [], {}
    for path in convolutions():
        source = ".".join(path)
        rules.append(TensorRule(f"{source}.conv.weight", (*path, "kernel"), "conv2d"))
        expected[(*path, "kernel")] = abstract[(*path, "kernel")]
        for name in _NORM:
            rules.append(TensorRule(f"{source}.bn.{name}", (*path, name), "same"))
            expected[(*path, name)] = abstract[(*path, "bias")]
    loaded = convert_state_dict(rules, used, traverse_util.unflatten_dict(expected))
    flat = traverse_util.flatten_dict(loaded)
    folded = {}
    for path in convolutions():
        scale, shift, mean, variance = (flat[(*path, name)] for name in _NORM)
        factor = scale / np.sqrt(variance + np.float32(_EPSILON))
        folded[(*path, "kernel")] = (flat[(*path, "kernel")] * factor).astype(np.float32)
        folded[(*path, "bias")] = (shift - mean * factor).astype(np.float32)
    return traverse_util.unflatten_dict(folded)


def convolutions() -> list[tuple[str, ...]]:
    """Where every convolution lies, here and there."""
    return [(layer.name,) for layer in STEM] + [
        (block.name, layer.name) for block in BLOCKS for layer in layers_of(block)
    ]
