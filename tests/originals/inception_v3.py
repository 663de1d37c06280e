"""FID's Inception v3 in PyTorch, written from its description, with modules that are named as torchvision's are."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.models.tiny_inception_v3 import weights


def shapes(divisor: int) -> dict[str, tuple[int, ...]]:
    """Of every tensor of the state dict, by its name; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in _Inception(divisor).state_dict().items()}


def features(divisor: int, images: np.ndarray) -> np.ndarray:
    """Features of images `[n, h, w, 3]`, with the weights of `tiny_inception_v3`."""
    network = _Inception(divisor).eval()
    tensors = weights({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    with torch.no_grad():
        return network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def stretched(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame `[h, w, 3]` as TensorFlow 1 resizes it: bilinear, samples at multiples of the scale."""
    height, width = frame.shape[:2]
    rows = torch.arange(side, dtype=torch.float32) * (height / side)
    columns = torch.arange(side, dtype=torch.float32) * (width / side)
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    # With aligned corners a place in pixels p is 2 p / (length - 1) - 1; the border is repeated.
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
    grid = 2 * grid / torch.tensor([width - 1, height - 1]) - 1
    return functional.grid_sample(image, grid, align_corners=True, padding_mode="border")[0].permute(1, 2, 0).numpy()


class _Unit(nn.Module):
    def __init__(self, before: int, behind: int, size, stride: int = 1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(before, behind, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(behind, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def _average(x):
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _A(nn.Module):
    def __init__(self, before: int, pooled: int, d: int):
        super().__init__()
        self.branch1x1 = _Unit(before, 64 // d, 1)
        self.branch5x5_1, self.branch5x5_2 = _Unit(before, 48 // d, 1), _Unit(48 // d, 64 // d, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Unit(before, 64 // d, 1), _Unit(64 // d, 96 // d, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96 // d, 96 // d, 3, padding=1)
        self.branch_pool = _Unit(before, pooled // d, 1)

    def forward(self, x):
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], 1)


class _B(nn.Module):
    def __init__(self, before: int, d: int):
        super().__init__()
        self.branch3x3 = _Unit(before, 384 // d, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Unit(before, 64 // d, 1), _Unit(64 // d, 96 // d, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96 // d, 96 // d, 3, 2)

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, functional.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    def __init__(self, before: int, inner: int, d: int):
        super().__init__()
        w, c, row, column = (
            192 // d,
            inner // d,
            {"size": (1, 7), "padding": (0, 3)},
            {"size": (7, 1), "padding": (3, 0)},
        )
        self.branch1x1 = _Unit(before, w, 1)
        self.branch7x7_1, self.branch7x7_2 = _Unit(before, c, 1), _Unit(c, c, **row)
        self.branch7x7_3 = _Unit(c, w, **column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Unit(before, c, 1), _Unit(c, c, **column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _Unit(c, c, **row), _Unit(c, c, **column)
        self.branch7x7dbl_5 = _Unit(c, w, **row)
        self.branch_pool = _Unit(before, w, 1)

    def forward(self, x):
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_average(x))], 1)


class _D(nn.Module):
    def __init__(self, before: int, d: int):
        super().__init__()
        w = 192 // d
        self.branch3x3_1, self.branch3x3_2 = _Unit(before, w, 1), _Unit(w, 320 // d, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Unit(before, w, 1), _Unit(w, w, (1, 7), padding=(0, 3))
        self.branch7x7x3_3, self.branch7x7x3_4 = _Unit(w, w, (7, 1), padding=(3, 0)), _Unit(w, w, 3, 2)

    def forward(self, x):
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, functional.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    def __init__(self, before: int, maximum: bool, d: int):
        super().__init__()
        w, row, column = 384 // d, {"size": (1, 3), "padding": (0, 1)}, {"size": (3, 1), "padding": (1, 0)}
        self.maximum = maximum
        self.branch1x1 = _Unit(before, 320 // d, 1)
        self.branch3x3_1, self.branch3x3_2a, self.branch3x3_2b = (
            _Unit(before, w, 1),
            _Unit(w, w, **row),
            _Unit(w, w, **column),
        )
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Unit(before, 448 // d, 1), _Unit(448 // d, w, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _Unit(w, w, **row), _Unit(w, w, **column)
        self.branch_pool = _Unit(before, 192 // d, 1)

    def forward(self, x):
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, 1, 1) if self.maximum else _average(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class _Inception(nn.Module):
    def __init__(self, d: int):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = _Unit(3, 32 // d, 3, 2), _Unit(32 // d, 32 // d, 3)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = _Unit(32 // d, 64 // d, 3, padding=1), _Unit(64 // d, 80 // d, 1)
        self.Conv2d_4a_3x3 = _Unit(80 // d, 192 // d, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192 // d, 32, d), _A(256 // d, 64, d), _A(288 // d, 64, d)
        self.Mixed_6a, wide = _B(288 // d, d), 768 // d
        self.Mixed_6b, self.Mixed_6c = _C(wide, 128, d), _C(wide, 160, d)
        self.Mixed_6d, self.Mixed_6e = _C(wide, 160, d), _C(wide, 192, d)
        self.Mixed_7a = _D(wide, d)
        self.Mixed_7b, self.Mixed_7c = _E(1280 // d, False, d), _E(2048 // d, True, d)
        self.fc = nn.Linear(2048 // d, 10)

    def forward(self, x):
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(functional.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean(dim=(2, 3))
