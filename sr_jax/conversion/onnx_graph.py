"""Walking an ONNX graph from tensor to tensor: by operator, never by name."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.errors import UserError

Node = Any
"""An `onnx.NodeProto`."""


class OnnxGraph:
    """A graph with one input, whose constants are known by name.

    Attributes:
        input: Name of the tensor that is no constant.
        input_shape: Its shape; None where it is not fixed.
        outputs: Names of the graph's results.
    """

    def __init__(self, path: Path):
        """Reads a file.

        Raises:
            UserError: If it is missing or no ONNX model, has several inputs, or the package that reads it is missing.
        """
        # An optional dependency, for this kind of file only.
        try:
            import onnx
        except ImportError as error:
            raise UserError(f'{path} needs the package onnx to be read: pip install "sr_jax[onnx]"') from error
        if not path.is_file():
            raise UserError(f"no ONNX file {path}")
        # A damaged file and missing external data arrive as different exceptions.
        try:
            graph = onnx.load(str(path)).graph
            self._constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        except Exception as error:
            raise UserError(f"{path} cannot be read as an ONNX model: download it again") from error
        self._path = path
        self._onnx = onnx
        self._consumers: dict[str, list[Node]] = defaultdict(list)
        self.outputs = [output.name for output in graph.output]
        inputs = [value for value in graph.input if value.name not in self._constants]
        if len(inputs) != 1:
            raise UserError(f"{path} has {len(inputs)} inputs, expected one image")
        self.input = inputs[0].name
        self.input_shape = tuple(dim.dim_value or None for dim in inputs[0].type.tensor_type.shape.dim)
        for node in graph.node:
            self._add(node)

    def _add(self, node: Node) -> None:
        if node.op_type == "Constant":
            [attribute] = node.attribute
            self._constants[node.output[0]] = np.asarray(self._value(attribute))
        elif node.op_type == "Identity" and node.input[0] in self._constants:
            # How exporters share equal constants.
            self._constants[node.output[0]] = self._constants[node.input[0]]
        else:
            for name in dict.fromkeys(node.input):
                self._consumers[name].append(node)

    def _value(self, attribute: Any) -> Any:
        value = self._onnx.helper.get_attribute_value(attribute)
        is_tensor = attribute.type == self._onnx.AttributeProto.TENSOR
        return self._onnx.numpy_helper.to_array(value) if is_tensor else value

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor; those that only ask for its shape are left out."""
        return [node for node in self._consumers[tensor] if node.op_type != "Shape"]

    def only(self, tensor: str, operators: Iterable[str]) -> Node:
        """The one node that reads a tensor.

        Raises:
            UserError: If there is none, several, or one of another operator.
        """
        nodes, wanted = self.consumers(tensor), " or ".join(operators)
        if len(nodes) != 1:
            found = ", ".join(map(describe, nodes)) or "nothing"
            raise UserError(f"{self._path}: tensor {tensor!r} is read by {found}, expected one {wanted}")
        if nodes[0].op_type not in tuple(operators):
            raise self.misfit(nodes[0], f"expected {wanted}")
        return nodes[0]

    def has_next(self, tensor: str, operator: str) -> bool:
        """Whether the one node that reads a tensor is of an operator."""
        return [node.op_type for node in self.consumers(tensor)] == [operator]

    def constants(self, node: Node, count: int) -> list[np.ndarray]:
        """The last `count` inputs of a node, as float32.

        Raises:
            UserError: If they are no constants.
        """
        names = node.input[-count:]
        if len(node.input) <= count or any(name not in self._constants for name in names):
            raise self.misfit(node, f"expected {count} constant inputs after the first")
        return [self._constants[name].astype(np.float32) for name in names]

    def attributes(self, node: Node) -> dict[str, Any]:
        """A node's attributes by name; lists of numbers as tuples."""
        values = {attribute.name: self._value(attribute) for attribute in node.attribute}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

    def check(self, node: Node, **expected: Any) -> None:
        """Compares attributes, where a node has them.

        Raises:
            UserError: Naming the first that differs.
        """
        found = self.attributes(node)
        for name, value in expected.items():
            if name in found and found[name] != value:
                raise self.misfit(node, f"{name} is {found[name]}, expected {value}")

    def misfit(self, node: Node, problem: str) -> UserError:
        """The error that a node does not fit."""
        return UserError(f"{self._path}: {describe(node)} does not fit: {problem}")


def describe(node: Node) -> str:
    """A node for messages, with its operator, name and result."""
    return f"{node.op_type} {node.name or node.output[0]!r}"
