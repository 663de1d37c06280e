"""LPIPS with AlexNet in PyTorch, written from its description, for weights that are named as in torchvision."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

_LAYERS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))


def distances(
    trunk: Mapping[str, np.ndarray], heads: Mapping[str, np.ndarray], ours: np.ndarray, real: np.ndarray
) -> np.ndarray:
    """LPIPS of uint8 frames `[n, h, w, 3]`."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def features(frames: np.ndarray) -> list[torch.Tensor]:
        x = (torch.from_numpy(frames).float() / 127.5 - 1 - shift) / scale
        x, found = x.permute(0, 3, 1, 2), []
        for number, (place, stride, padding) in enumerate(_LAYERS):
            if number in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            weight, bias = (torch.from_numpy(trunk[f"features.{place}.{kind}"]) for kind in ("weight", "bias"))
            x = torch.relu(functional.conv2d(x, weight, bias, stride, padding))
            found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found

    total = torch.zeros(len(ours))
    for number, (a, b) in enumerate(zip(features(ours), features(real), strict=True)):
        head = torch.from_numpy(heads[f"lin{number}.model.1.weight"])
        total += functional.conv2d((a - b).square(), head).mean(dim=(1, 2, 3))
    return total.numpy()
