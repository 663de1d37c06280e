"""iResNets in PyTorch, written from their description, and the graphs that PyTorch exports of them as ONNX."""

import io
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import nn


def exported(
    blocks: Sequence[int],
    widths: Sequence[int],
    *,
    folded: bool,
    dynamic: bool = True,
    image_size: int = 32,
    takes_pixels: bool = False,
) -> bytes:
    """The ONNX file of a network of 8 values a face, without the values of its weights.

    Args:
        blocks: Residual blocks of each stage.
        widths: Channels of each stage.
        folded: Whether batch norms are folded into the convolutions before them, or all kept.
        dynamic: Whether the batch is of any size, or of 1.
        image_size: Side of the images in pixels.
        takes_pixels: Whether images are in 0 to 255 instead of [-1, 1].
    """
    network = _IResNet(blocks, widths, embedding_dim=8, image_size=image_size, takes_pixels=takes_pixels).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # All unlike: equal ones would be exported once for all.
        for tensor in filter(torch.is_floating_point, network.state_dict().values()):
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The older exporter, which needs no further package, announces its end.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, image_size, image_size),),
            file,
            input_names=["data"],
            dynamic_axes={"data": {0: "n"}} if dynamic else None,
            training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    model.ClearField("producer_version")
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    return model.SerializeToString()


def num_weights(blocks: Sequence[int], widths: Sequence[int], embedding_dim: int, image_size: int) -> tuple[int, int]:
    """Numbers in all weights of a network, and in the kernels of its convolutions."""
    with torch.device("meta"):
        network = _IResNet(blocks, widths, embedding_dim=embedding_dim, image_size=image_size)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return (
        sum(parameter.numel() for parameter in network.parameters()),
        sum(module.weight.numel() for module in convolutions),
    )


class _Block(nn.Module):
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


class _IResNet(nn.Module):
    """Input `[N, 3, S, S]` in [-1, 1], or pixels of 0 to 255 when `takes_pixels`; every stage halves it."""

    def __init__(self, blocks, widths, *, embedding_dim, image_size, takes_pixels=False):
        super().__init__()
        self.takes_pixels = takes_pixels
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        layers, width_in = [], widths[0]
        for count, width in zip(blocks, widths):
            for index in range(count):
                layers.append(_Block(width_in, width, 2 if index == 0 else 1))
                width_in = width
        self.layers = nn.Sequential(*layers)
        self.bn2 = nn.BatchNorm2d(width_in)
        self.fc = nn.Linear(width_in * (image_size // 2 ** len(blocks)) ** 2, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)

    def forward(self, x):
        if self.takes_pixels:
            x = (x - 127.5) * 0.0078125
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.bn2(self.layers(x))
        return self.features(self.fc(torch.flatten(x, 1)))
