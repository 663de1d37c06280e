"""The published ONNX files of ArcFace recognisers, to parameters of our `IResNet`.

The names in these files differ from export to export, so the graph is followed from the image to the embedding. Batch
norms after convolutions may be there or folded into them.
"""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sr_jax.conversion.onnx_graph import Node, OnnxGraph
from sr_jax.errors import UserError
from sr_jax.models.arcface import NUM_STAGES, IResNetConfig
from sr_jax.models.functional import Params

# Of 8-bit pixels: our network sees (pixel - 127.5) / 127.5.
_MIDDLE = 127.5
_DEFAULT_EPSILON = 1e-5


def read_iresnet(path: Path) -> tuple[IResNetConfig, Params]:
    """Reads an iResNet of any depth and width.

    Args:
        path: For example `arcface.onnx` or `glintr100.onnx`.

    Returns:
        The network's sizes, and its parameters.

    Raises:
        UserError: Naming the node that does not fit such a network.
    """
    return _Reader(OnnxGraph(path), path).read()


class _Reader:
    """Follows the graph. Methods take the name of a tensor and return the name of the next one with what they read."""

    def __init__(self, graph: OnnxGraph, path: Path):
        self.graph, self.path = graph, path

    def read(self) -> tuple[IResNetConfig, Params]:
        tensor, pixel_scale = self._pixels(self.graph.input)
        tensor, stem = self._conv(tensor, 3, None, size=3, stride=1)
        stem["kernel"] = stem["kernel"] * pixel_scale
        width = len(stem["bias"])
        tensor, prelu = self._prelu(tensor, width)
        blocks: list[Params] = []
        widths = [width]
        # A block's input has two readers, the last norm's has one.
        while len(self.graph.consumers(tensor)) == 2:
            tensor, block = self._block(tensor, widths[-1])
            blocks.append(block)
            widths.append(len(block["conv_2"]["bias"]))
        tensor, norm = self._norm(self.graph.only(tensor, ("BatchNormalization",)), widths[-1])
        side, head = self._head(tensor, widths[-1])
        stages = self._stages(blocks)
        config = IResNetConfig(
            blocks=tuple(map(len, stages)),
            widths=tuple(len(stage[0]["conv_2"]["bias"]) for stage in stages),
            embedding_dim=len(head["bias"]),
            image_size=side * 2**NUM_STAGES,
        )
        self._check_input(config.image_size)
        params = {
            "stem": stem,
            "prelu": prelu,
            "stages": {number: _stack(stage) for number, stage in enumerate(stages)},
            "norm": norm,
            "head": head,
        }
        return config, params

    def _pixels(self, tensor: str) -> tuple[str, float]:
        """Passes a normalisation of pixels; returns the factor from our range to the one it gives."""
        if not self.graph.has_next(tensor, "Sub"):
            return tensor, 1.0
        subtract = self.graph.only(tensor, ("Sub",))
        scale = self.graph.only(subtract.output[0], ("Mul",))
        [middle], [factor] = (self.graph.constants(node, 1) for node in (subtract, scale))
        if np.any(middle != _MIDDLE):
            raise self.graph.misfit(subtract, f"it subtracts {middle.ravel()[0]}, expected {_MIDDLE}")
        if np.ptp(factor) != 0:
            raise self.graph.misfit(scale, "expected one factor for all channels")
        return scale.output[0], float(_MIDDLE * factor.ravel()[0])

    def _block(self, tensor: str, width: int) -> tuple[str, Params]:
        nodes = {node.op_type: node for node in self.graph.consumers(tensor)}
        if "BatchNormalization" not in nodes:
            raise self.graph.misfit(next(iter(nodes.values())), "expected a block that begins with BatchNormalization")
        block: Params = {}
        inner, block["norm"] = self._norm(nodes["BatchNormalization"], width)
        stride = 1 if "Add" in nodes else 2
        inner, block["conv_1"] = self._conv(inner, width, None, size=3, stride=1)
        width_out = len(block["conv_1"]["bias"])
        inner, block["prelu"] = self._prelu(inner, width_out)
        inner, block["conv_2"] = self._conv(inner, width_out, width_out, size=3, stride=stride)
        shortcut = tensor
        if stride == 2:
            if "Conv" not in nodes:
                other = next(node for name, node in nodes.items() if name != "BatchNormalization")
                raise self.graph.misfit(other, "expected Add or Conv beside a block")
            shortcut, block["shortcut"] = self._conv_node(nodes["Conv"], width, width_out, size=1, stride=2)
        add = self.graph.only(inner, ("Add",))
        if set(add.input) != {inner, shortcut}:
            raise self.graph.misfit(add, "it does not add a block to its shortcut")
        if stride == 1 and width != width_out:
            raise self.graph.misfit(add, f"it adds {width_out} channels to {width}")
        return add.output[0], block

    def _conv(self, tensor: str, width_in: int, width: int | None, *, size: int, stride: int) -> tuple[str, Params]:
        return self._conv_node(self.graph.only(tensor, ("Conv",)), width_in, width, size=size, stride=stride)

    def _conv_node(self, node: Node, width_in: int, width: int | None, *, size: int, stride: int) -> tuple[str, Params]:
        """A convolution, with the batch norm behind it folded in where there is one; any `width` when None."""
        kernel, *bias = self.graph.constants(node, len(node.input) - 1)
        width = width or len(kernel)
        if kernel.shape != (width, width_in, size, size):
            raise self.graph.misfit(
                node, f"its kernel is {kernel.shape}, expected {(width, width_in, size, size)} (out, in, height, width)"
            )
        self.graph.check(
            node,
            strides=(stride, stride),
            pads=(size // 2,) * 4,
            dilations=(1, 1),
            group=1,
            kernel_shape=(size, size),
            auto_pad=b"NOTSET",
        )
        if stride != 1 and "strides" not in self.graph.attributes(node):
            raise self.graph.misfit(node, f"its stride is 1, expected {stride}")
        if size != 1 and "pads" not in self.graph.attributes(node):
            raise self.graph.misfit(node, f"it pads nothing, expected {size // 2}")
        shift = bias[0] if bias else np.zeros(width, np.float32)
        if shift.shape != (width,):
            raise self.graph.misfit(node, f"its bias is {shift.shape}, expected {(width,)}")
        kernel = kernel.transpose(2, 3, 1, 0)
        tensor = node.output[0]
        if self.graph.has_next(tensor, "BatchNormalization"):
            tensor, norm = self._norm(self.graph.only(tensor, ("BatchNormalization",)), width)
            kernel, shift = kernel * norm["scale"], shift * norm["scale"] + norm["bias"]
        return tensor, {"kernel": np.ascontiguousarray(kernel), "bias": shift}

    def _norm(self, node: Node, width: int) -> tuple[str, Params]:
        """A batch norm as scale and shift, from its weight, bias, mean and variance."""
        values = self.graph.constants(node, 4)
        if any(value.shape != (width,) for value in values):
            raise self.graph.misfit(node, f"it is of {len(values[0])} channels, expected {width}")
        weight, bias, mean, variance = (value.astype(np.float64) for value in values)
        epsilon = self.graph.attributes(node).get("epsilon", _DEFAULT_EPSILON)
        scale = weight / np.sqrt(variance + epsilon)
        return node.output[0], {
            "scale": scale.astype(np.float32),
            "bias": (bias - mean * scale).astype(np.float32),
        }

    def _prelu(self, tensor: str, width: int) -> tuple[str, Params]:
        node = self.graph.only(tensor, ("PRelu",))
        [slope] = self.graph.constants(node, 1)
        if slope.shape not in ((width, 1, 1), (1, width, 1, 1)):
            raise self.graph.misfit(node, f"its slope is {slope.shape}, expected {(width, 1, 1)}")
        return node.output[0], {"slope": slope.reshape(width)}

    def _head(self, tensor: str, width: int) -> tuple[int, Params]:
        """The linear layer, with the norm behind it folded in; returns the side of the image that it sees."""
        if self.graph.has_next(tensor, "Dropout"):
            tensor = self.graph.only(tensor, ("Dropout",)).output[0]
        flat = self.graph.only(tensor, ("Flatten", "Reshape"))
        self.graph.check(flat, axis=1)
        node = self.graph.only(flat.output[0], ("Gemm", "MatMul"))
        tensor, kernel, bias = self._linear(node)
        side = math.isqrt(len(kernel) // width)
        if side < 1 or width * side**2 != len(kernel):
            raise self.graph.misfit(node, f"it sees {len(kernel)} values, no square image of {width} channels")
        if self.graph.has_next(tensor, "BatchNormalization"):
            tensor, norm = self._norm(self.graph.only(tensor, ("BatchNormalization",)), len(bias))
            kernel, bias = kernel * norm["scale"], bias * norm["scale"] + norm["bias"]
        if self.graph.outputs != [tensor]:
            raise UserError(f"{self.path}: {tensor!r} should be the only result, but these are: {self.graph.outputs}")
        # From channel, row, column to row, column, channel.
        kernel = kernel.reshape(width, side, side, -1).transpose(1, 2, 0, 3).reshape(len(kernel), -1)
        return side, {"kernel": np.ascontiguousarray(kernel), "bias": bias}

    def _linear(self, node: Node) -> tuple[str, np.ndarray, np.ndarray]:
        """Kernel `[in, out]` and bias."""
        kernel, *bias = self.graph.constants(node, len(node.input) - 1)
        self.graph.check(node, alpha=1.0, beta=1.0, transA=0)
        if self.graph.attributes(node).get("transB", 0):
            kernel = kernel.T
        if kernel.ndim != 2:
            raise self.graph.misfit(node, f"its kernel is {kernel.shape}, expected two axes")
        tensor = node.output[0]
        if node.op_type == "MatMul" and self.graph.has_next(tensor, "Add"):
            add = self.graph.only(tensor, ("Add",))
            bias, tensor = self.graph.constants(add, 1), add.output[0]
        shift = bias[0].ravel() if bias else np.zeros(kernel.shape[1], np.float32)
        if len(shift) != kernel.shape[1]:
            raise self.graph.misfit(node, f"its bias has {len(shift)} values, expected {kernel.shape[1]}")
        return tensor, kernel, shift

    def _stages(self, blocks: list[Params]) -> list[list[Params]]:
        """Blocks by stage; every stage begins with a block that has a convolution in its shortcut."""
        stages: list[list[Params]] = []
        for block in blocks:
            if "shortcut" in block:
                stages.append([])
            if not stages:
                raise UserError(f"{self.path}: the first block keeps the size of the image, in an iResNet it halves it")
            stages[-1].append(block)
        if len(stages) != NUM_STAGES:
            raise UserError(f"{self.path}: it halves the image {len(stages)} times, an iResNet does {NUM_STAGES} times")
        return stages

    def _check_input(self, image_size: int) -> None:
        expected = (3, image_size, image_size)
        found = self.graph.input_shape[1:]
        if len(found) != 3 or any(side not in (None, want) for side, want in zip(found, expected)):
            raise UserError(f"{self.path}: its input is {found}, but its last layer fits images of {expected}")


def _stack(stage: list[Params]) -> Params:
    first, *rest = stage
    if not rest:
        return {"first": first}
    stacked: Any = jax.tree.map(lambda *rows: np.stack(rows), *rest)
    return {"first": first, "rest": stacked}
