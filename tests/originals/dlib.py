"""dlib's face recognition network in PyTorch, written from its C++ template `anet_type`."""

import numpy as np
import torch
from torch.nn import functional

from tests.teachers.dlib_file import BLOCKS, weights


def embeddings(seed: int, chips: np.ndarray) -> np.ndarray:
    """Embeddings `[n, 128]`, not normalised, of aligned RGB faces `[n, 150, 150, 3]` of 8 bits.

    Args:
        seed: Of the weights in `tests.teachers.dlib_file`.
        chips: The faces.
    """
    tensors = {name: torch.from_numpy(weight) for name, weight in weights(seed).items()}

    def convolved(x: torch.Tensor, number: int, stride: int) -> torch.Tensor:
        """A convolution followed by its affine layer, kept apart; one with a stride has no padding."""
        filters, bias, scale, shift = (tensors[f"{number}.{name}"] for name in ("filters", "bias", "scale", "shift"))
        padding = filters.shape[-1] // 2 if stride == 1 else 0
        x = functional.conv2d(x, filters, bias, stride=stride, padding=padding)
        return x * scale[:, None, None] + shift[:, None, None]

    x = (torch.from_numpy(chips).float() - torch.tensor([122.782, 117.001, 104.298])) / 256
    x = functional.max_pool2d(torch.relu(convolved(x.permute(0, 3, 1, 2), 0, 2)), 3, 2)
    for index, (_, stride) in enumerate(BLOCKS):
        first = torch.relu(convolved(x, 2 * index + 1, stride))
        residual = convolved(first, 2 * index + 2, 1)
        shortcut = x if stride == 1 else functional.avg_pool2d(x, 2, 2)
        channels, height, width = (max(a, b) for a, b in zip(residual.shape[1:], shortcut.shape[1:]))
        total = torch.zeros(len(x), channels, height, width)
        for part in (residual, shortcut):
            total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        x = torch.relu(total)
    return (x.mean((2, 3)) @ tensors["head"]).numpy()
