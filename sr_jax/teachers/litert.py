"""Networks in TensorFlow Lite's file format, run by LiteRT."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sr_jax.errors import UserError


class LiteRtNetwork:
    """A `.tflite` network with one input and one output."""

    def __init__(self, weights: Path):
        """Loads the network.

        Args:
            weights: The `.tflite` file.

        Raises:
            UserError: When the package that runs it is not installed.
        """
        # An optional dependency: only teachers for real clips need it.
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UserError(f'{weights.name} needs ai-edge-litert: pip install "sr_jax[real]"') from error
        self._interpreter: Any = Interpreter(str(weights))
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, values: Float[np.ndarray, "b *shape"]) -> Float[np.ndarray, "b *out"]:
        """Runs the network on float32 values of the shape that its file fixes."""
        self._interpreter.set_tensor(self._input, values.astype(np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)
