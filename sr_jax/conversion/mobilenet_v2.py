"""The state dict of torchvision's MobileNetV2, to our parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sr_jax.conversion.rules import TensorRule, convert_state_dict
from sr_jax.models.functional import Functional, Params
from sr_jax.models.mobilenet_v2 import MobileNetV2, MobileNetV2Config

_EPSILON = 1e-5
"""Of torchvision's batch norms."""
_NORM = ("weight", "bias", "running_mean", "running_var")


def params_from_state_dict(config: MobileNetV2Config, tensors: Mapping[str, np.ndarray]) -> Params:
    """Our parameters: every batch norm is folded into the convolution before it.

    Args:
        config: Of the network.
        tensors: The whole state dict; the classifier, and counts of training steps, are left out.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    places = _places(config)
    used = {
        name: tensor
        for name, tensor in tensors.items()
        if not (name.startswith("classifier.") or name.endswith(".num_batches_tracked"))
    }
    network = Functional(lambda rngs: MobileNetV2(config, rngs=rngs))
    rules = [TensorRule(f"{source}.weight", (*target, "kernel"), "conv2d") for source, _, target in places]
    rules += [
        TensorRule(f"{norm}.{name}", (*target, name if name != "bias" else "shift"), "same")
        for _, norm, target in places
        for name in _NORM
    ]
    # Checked before anything is folded: a norm has as many values as its convolution has channels.
    loaded = convert_state_dict(rules, used, _with_norms(network.abstract_params(), places))
    for *_, target in places:
        _fold(loaded, target)
    return loaded


def _places(config: MobileNetV2Config) -> list[tuple[str, str, tuple[str | int, ...]]]:
    """Of every convolution its name there, that of its norm, and where it goes."""
    places: list[tuple[str, str, tuple[str | int, ...]]] = [("features.0.0", "features.0.1", ("stem",))]
    for number, (width, inner, *_) in enumerate(config.blocks()):
        source, target = f"features.{number + 1}.conv", ("blocks", number)
        # A convolution that an activation follows is a module of its own; the last one is not.
        inside = ["widen", "depthwise"] if inner != width else ["depthwise"]
        places += [(f"{source}.{i}.0", f"{source}.{i}.1", (*target, name)) for i, name in enumerate(inside)]
        places.append((f"{source}.{len(inside)}", f"{source}.{len(inside) + 1}", (*target, "narrow")))
    last = f"features.{len(config.blocks()) + 1}"
    return [*places, (f"{last}.0", f"{last}.1", ("head",))]


def _at(params: Params, path: tuple[str | int, ...]) -> dict[str, Any]:
    node: Any = params
    for key in path:
        node = node[key]
    return node


def _with_norms(abstract: Params, places: list[tuple[str, str, tuple[str | int, ...]]]) -> Params:
    """Our abstract parameters with the norms that are folded into them."""
    for *_, target in places:
        module = _at(abstract, target)
        bias = module.pop("bias")
        module |= {name if name != "bias" else "shift": bias for name in _NORM}
    return abstract


def _fold(params: Params, target: tuple[str | int, ...]) -> None:
    module = _at(params, target)
    scale, shift, mean, variance = (module.pop(name) for name in ("weight", "shift", "running_mean", "running_var"))
    factor = scale / np.sqrt(variance + np.float32(_EPSILON))
    module["kernel"] = (module["kernel"] * factor).astype(np.float32)
    module["bias"] = (shift - mean * factor).astype(np.float32)
