"""LPIPS: how differently AlexNet sees a generated and a real frame, calibrated on people's judgements."""

import hashlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.conversion.old_torch_file import read_old_torch_file
from sr_jax.conversion.rules import TensorRule, convert_state_dict, weight_and_bias
from sr_jax.conversion.state_dict import read_state_dict
from sr_jax.evaluation.batches import in_batches
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score
from sr_jax.evaluation.weights import KnownFile, packaged
from sr_jax.models.alexnet import WIDTHS, AlexNet
from sr_jax.models.functional import Functional, Params
from sr_jax.packages import PackageFile

TRUNK = KnownFile("alexnet-owt-7be5be79.pth", "7be5be79", "torchvision (BSD-3-Clause)", "alexnet_path")
HEADS = PackageFile(
    "lpips",
    "0.1.4",
    "lpips/weights/v0.1/alex.pth",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
)
_SHIFT = np.float32([-0.030, -0.088, -0.188])
_SCALE = np.float32([0.458, 0.448, 0.450])
_EPSILON = 1e-10
_BATCH = 8
# Of torchvision's `features`, the convolutions.
_LAYERS = (0, 3, 6, 8, 10)


class Metric(ClipMetric):
    """LPIPS version 0.1 with AlexNet, mean over frames (Zhang et al. 2018)."""

    score = Score(
        "lpips",
        "LPIPS",
        "",
        -1,
        4,
        "Learned perceptual distance to the real clip (AlexNet, version 0.1), mean over frames at their own size.",
        by_frame="LPIPS to the real frame",
    )

    def __init__(self, config: ml_collections.ConfigDict):
        """Loads the network.

        Raises:
            UserError: When its weights cannot be had or read.
        """
        trunk = TRUNK.locate(config.alexnet_path)
        heads = packaged(HEADS)
        params = params_from_state_dicts(read_state_dict(trunk), read_old_torch_file(heads))
        self._distances = distances(params)
        digest = hashlib.sha256(trunk.read_bytes()).hexdigest()
        self.about = {"network": TRUNK.name, "sha256": digest, "heads": HEADS.requirement, "heads_sha256": HEADS.sha256}

    def measure(self, clip: Clip) -> Measurement:
        """The mean over frames."""
        found = in_batches(self._distances, clip.video, clip.reference, size=_BATCH).astype(np.float64)
        return Measurement(float(found.mean()), found)


def params_from_state_dicts(
    trunk: Mapping[str, np.ndarray], heads: Mapping[str, np.ndarray], widths: Sequence[int] = WIDTHS
) -> Params:
    """Trunk and heads in one, `{"trunk": ..., "heads": [[C], ...]}`.

    Args:
        trunk: torchvision's AlexNet; its classifier is left out.
        heads: Those of the package `lpips`.
        widths: Of the trunk.

    Raises:
        UserError: Naming every missing, unexpected and misshapen tensor.
    """
    features = {name: tensor for name, tensor in trunk.items() if not name.startswith("classifier.")}
    rules = [
        rule
        for number, place in enumerate(_LAYERS)
        for rule in weight_and_bias(f"features.{place}", ("layers", number), "conv2d")
    ]
    network = Functional(lambda rngs: AlexNet(tuple(widths), rngs=rngs))
    loaded = {"trunk": convert_state_dict(rules, features, network.abstract_params())}
    head_rules = [TensorRule(f"lin{n}.model.1.weight", (f"lin{n}",), "unbatched") for n in range(len(widths))]
    shapes = {f"lin{n}": jax.ShapeDtypeStruct((width, 1, 1), jnp.float32) for n, width in enumerate(widths)}
    weights = convert_state_dict(head_rules, heads, shapes)
    return loaded | {"heads": [weights[f"lin{n}"].reshape(-1) for n in range(len(widths))]}


def distances(params: Params, widths: Sequence[int] = WIDTHS):
    """A compiled function from two batches of uint8 frames `[N, H, W, 3]` to their distances `[N]`."""
    network = Functional(lambda rngs: AlexNet(tuple(widths), rngs=rngs))
    params = jax.device_put(params)

    def between(params: Params, ours: UInt8[Array, "n h w 3"], real: UInt8[Array, "n h w 3"]) -> Float[Array, " n"]:
        total = jnp.zeros(len(ours))
        features = [_unit(network.apply(params["trunk"], _prepared(frames))) for frames in (ours, real)]
        for number, (a, b) in enumerate(zip(*features, strict=True)):
            total = total + (jnp.square(a - b) @ params["heads"][number]).mean(axis=(1, 2))
        return total

    compiled = jax.jit(between)
    return lambda ours, real: compiled(params, ours, real)


def _prepared(frames: UInt8[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    return (frames.astype(jnp.float32) / 127.5 - 1 - _SHIFT) / _SCALE


def _unit(features: Sequence[Float[Array, "n _ _ _"]]) -> list[Float[Array, "n _ _ _"]]:
    """Features of unit length at every place."""
    return [x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + _EPSILON) for x in features]
