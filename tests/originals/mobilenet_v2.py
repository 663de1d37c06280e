"""MobileNetV2 in PyTorch, written from its description, with modules that are named as torchvision's are."""

import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from tests.models.tiny_mobilenet_v2 import weights


def shapes(sizes: Mapping) -> dict[str, tuple[int, ...]]:
    """Of every tensor of the state dict, by its name; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in _MobileNetV2(**sizes).state_dict().items()}


def features(sizes: Mapping, images: np.ndarray) -> np.ndarray:
    """The last features `[n, y, x, d]` of images `[n, h, w, 3]`, with the weights of `tiny_mobilenet_v2`."""
    network = _loaded(sizes)
    with torch.no_grad():
        return network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def saved(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The file that `torch.save` made of a state dict before version 1.6.

    Parts of the first tensor are in it too, as where weights are shared. PyTorch names storages by their places in
    memory, and sorts them by these: here they are numbered, and of one size, so that each tensor may lie in any.
    """
    sizes = {tensor.nbytes for tensor in tensors.values()}
    storages = sorted((torch.UntypedStorage(*sizes) for _ in tensors), key=lambda storage: str(storage._cdata))
    state = OrderedDict()
    for storage, (name, array) in zip(storages, tensors.items(), strict=True):
        values = torch.from_numpy(array.copy())
        state[name] = torch.empty(0, dtype=values.dtype).set_(storage, 0, values.shape).copy_(values)
    first = next(iter(state.values()))
    state |= {"transposed": first.T, "part": first[1:]}
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    content = file.getvalue()
    for number, storage in enumerate(storages):
        content = content.replace(_pickled(str(storage._cdata)), _pickled(str(number)))
    return content


def _pickled(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _loaded(sizes: Mapping) -> "_MobileNetV2":
    network = _MobileNetV2(**sizes).eval()
    tensors = weights({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return network


def _layer(width_in: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU6())


class _Block(nn.Module):
    def __init__(self, width_in: int, factor: int, width: int, stride: int):
        super().__init__()
        inner = factor * width_in
        widen = [_layer(width_in, inner)] if factor > 1 else []
        narrow = [nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.conv = nn.Sequential(*widen, _layer(inner, inner, 3, stride, inner), *narrow)
        self.adds = stride == 1 and width_in == width

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class _MobileNetV2(nn.Module):
    def __init__(self, stem: int, stages: Sequence[Sequence[int]], features: int, classes: int):
        super().__init__()
        modules, width_in = [_layer(3, stem, 3, 2)], stem
        for factor, width, count, stride in stages:
            for number in range(count):
                modules.append(_Block(width_in, factor, width, 1 if number else stride))
                width_in = width
        self.features = nn.Sequential(*modules, _layer(width_in, features))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(features, classes))
