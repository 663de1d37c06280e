"""ONNX files of iResNets as PyTorch exports them, with every weight random."""

from pathlib import Path

import numpy as np
import onnx

from tests.originals.recording import random_weights


def write_iresnet(
    original, path: Path, blocks: tuple[int, ...], widths: tuple[int, ...] = (8, 8, 16, 16), **options
) -> Path:
    """Writes a network whose signal neither dies nor explodes, whatever its depth.

    Args:
        original: The fixture.
        path: Of the file.
        blocks: Residual blocks of each stage.
        widths: Channels of each stage.
        **options: Of the export, see `tests.originals.iresnet.exported`.
    """
    model = onnx.load_from_string(original("iresnet").exported(blocks, widths, **options))
    operators = {node.output[0]: node.op_type for node in model.graph.node}
    # For each weight its operator, its place there, and the operator before it.
    roles = {
        name: (node.op_type, place, operators.get(node.input[0]))
        for node in model.graph.node
        for place, name in enumerate(node.input)
    }

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        operator, place, before = roles[name]
        if operator == "BatchNormalization" and place == 1:
            return 1 + 0.2 * noise
        if operator == "BatchNormalization" and place == 4:
            return 0.5 + np.abs(noise)
        if operator == "PRelu" or place > 1:
            return 0.2 * noise
        # A residual branch adds less the more branches there are.
        ends_branch = before == "PRelu" and shape[2:] == (3, 3)
        return (0.3 if ends_branch else 1.0) * (2 / np.prod(shape[1:])) ** 0.5 * noise

    weights = random_weights({tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}, 0, rule)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    onnx.save(model, str(path))
    return path
