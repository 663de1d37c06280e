"""The residual network of the identity module, written out in PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F


def forward(
    params: Mapping[str, Any], images: np.ndarray, blocks_per_stage: int, pooled_size: tuple[int, int]
) -> np.ndarray:
    """Embeddings `[B, D]` of images `[B, H, W, C]`, from parameters of our `ResNet`."""
    x = _conv(params["stem"], torch.from_numpy(images).permute(0, 3, 1, 2))
    for index in range(len(params["blocks"])):
        p = params["blocks"][index]
        stride = 2 if index and index % blocks_per_stage == 0 else 1
        y = _conv(p["conv_1"], F.silu(_norm(p["norm_1"], x)), stride)
        y = _conv(p["conv_2"], F.silu(_norm(p["norm_2"], y)))
        x = y + (_conv(p["shortcut"], x, stride) if "shortcut" in p else x)
    x = F.adaptive_avg_pool2d(F.silu(_norm(params["norm"], x)), pooled_size).permute(0, 2, 3, 1).flatten(1)
    head = {name: torch.from_numpy(leaf) for name, leaf in params["head"].items()}
    return (x @ head["kernel"] + head["bias"]).numpy()


def _norm(p: Mapping[str, np.ndarray], x: torch.Tensor) -> torch.Tensor:
    return F.group_norm(x, 8, torch.from_numpy(p["scale"]), torch.from_numpy(p["bias"]), eps=1e-6)


def _conv(p: Mapping[str, np.ndarray], x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    kernel = torch.from_numpy(p["kernel"]).permute(3, 2, 0, 1)
    # "SAME" padding of XLA: where it is odd, the larger half comes last.
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + kernel.shape[2] - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), kernel, torch.from_numpy(p["bias"]), stride)
