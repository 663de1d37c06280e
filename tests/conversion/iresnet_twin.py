"""iResNets in PyTorch, written from their description, with every weight random, and their ONNX files."""

from pathlib import Path

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out = self.bn3(self.conv2(out))
        return out + (x if self.downsample is None else self.downsample(x))


class TorchIResNet(nn.Module):
    """Input `[N, 3, S, S]` in [-1, 1], or pixels of 0 to 255 when `takes_pixels`."""

    def __init__(self, blocks, widths, *, embedding_dim=8, image_size=32, takes_pixels=False):
        super().__init__()
        self.takes_pixels = takes_pixels
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        layers, width_in = [], widths[0]
        for count, width in zip(blocks, widths):
            for index in range(count):
                layers.append(Block(width_in, width, 2 if index == 0 else 1))
                width_in = width
        self.layers = nn.Sequential(*layers)
        self.bn2 = nn.BatchNorm2d(width_in)
        self.fc = nn.Linear(width_in * (image_size // 16) ** 2, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)

    def forward(self, x):
        if self.takes_pixels:
            x = (x - 127.5) * 0.0078125
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.bn2(self.layers(x))
        return self.features(self.fc(torch.flatten(x, 1)))


def random_iresnet(blocks, widths=(8, 8, 16, 16), seed=0, **options) -> TorchIResNet:
    """A network whose signal neither dies nor explodes, whatever its depth."""
    model = TorchIResNet(blocks, widths, **options).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.ndim > 1:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
            elif tensor.is_floating_point():
                is_weight = name.endswith("weight") and "prelu" not in name
                # A residual branch adds less the more branches there are.
                middle = (0.3 if "bn3" in name else 1.0) if is_weight else 0.0
                tensor.copy_(middle * (1 + 0.2 * noise) + (0.0 if is_weight else 0.2 * noise))
    return model


def export(model: TorchIResNet, path: Path, *, folded: bool, dynamic: bool = True, image_size: int = 32) -> Path:
    """Writes the network as ONNX, batch norms folded into the convolutions before them or all kept."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, image_size, image_size),),
        str(path),
        input_names=["data"],
        dynamic_axes={"data": {0: "n"}} if dynamic else None,
        training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
        dynamo=False,
    )
    return path
