"""Networks of any architecture in ONNX files, run by onnxruntime."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError
from sr_jax.sections import Section, weights_path
from sr_jax.teachers.base import FaceTeacher, file_hash
from sr_jax.teachers.faces.landmarks import AlignedFaceRecogniser, arcface_template
from sr_jax.teachers.registry import load_detector

_COLOUR_ORDERS = ("rgb", "bgr")
# Faces in one call, where a file does not fix their number.
_BATCH = 8


def load(section: Section) -> FaceTeacher:
    """Loads `{"name": "onnx", "path": FILE}` with what `load_onnx_recogniser` reads and a detector, as `arcface`.

    Raises:
        UserError: For weights that cannot be read, or an unknown detector or order of colours.
    """
    detector, path = load_detector(section), weights_path(section)
    options = {"mean": 127.5, "deviation": 127.5, "colour_order": "rgb"}
    recogniser = load_onnx_recogniser(path, **{name: section.get(name, usual) for name, usual in options.items()})
    return FaceTeacher(detector, recogniser)


class OnnxNetwork:
    """A network with one image as input.

    Attributes:
        input_shape: Shape of the input; None where it is not fixed.
        output_shapes: Shapes of the outputs, in order.
    """

    def __init__(self, path: Path):
        """Loads a file.

        Raises:
            UserError: If it is missing or cannot be run, or onnxruntime is not installed.
        """
        # An optional dependency: only these networks need it.
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f'{path} needs onnxruntime to run: pip install "sr_jax[onnx]"') from error
        if not path.is_file():
            raise UserError(f"no ONNX file {path}")
        # A damaged file and an operator that is not known arrive as different exceptions.
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:
            raise UserError(f"onnxruntime cannot load {path} ({str(error).splitlines()[0][:200]})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise UserError(f"{path} has inputs {[each.shape for each in inputs]}, expected one batch of images")
        self._input = inputs[0].name
        self.input_shape = _fixed(inputs[0].shape)
        self.output_shapes = [_fixed(output.shape) for output in self._session.get_outputs()]

    def __call__(self, images: Float[np.ndarray, "n a b c"]) -> list[np.ndarray]:
        """Returns all outputs, in the order of the file."""
        return self._session.run(None, {self._input: images})


def load_onnx_recogniser(
    path: Path, *, mean: float = 127.5, deviation: float = 127.5, colour_order: str = "rgb"
) -> AlignedFaceRecogniser:
    """Loads a recogniser of aligned faces of any architecture.

    Args:
        path: A file with one input, `[N, 3, S, S]` or `[N, S, S, 3]`, and one output `[N, E]`. Faces are aligned to
            ArcFace's template, scaled to S.
        mean: What is subtracted from pixels of 0 to 255.
        deviation: What they are divided by then.
        colour_order: `rgb` or `bgr`.

    Returns:
        A recogniser whose name says the file's and the three settings.

    Raises:
        UserError: If the file cannot be run or is of another kind.
    """
    if colour_order not in _COLOUR_ORDERS:
        raise UserError(f"faces.colour_order is {colour_order!r}: choose one of {', '.join(_COLOUR_ORDERS)}")
    network = OnnxNetwork(path)
    batch, *image = network.input_shape
    channels_first = image[0] == 3
    size = image[1] if channels_first else image[0]
    if image not in ([3, size, size], [size, size, 3]) or size is None:
        raise UserError(f"{path} takes {network.input_shape}, expected square RGB images of a fixed size")
    embedding_dim = network.output_shapes[0][-1]
    if len(network.output_shapes) != 1 or len(network.output_shapes[0]) != 2 or embedding_dim is None:
        raise UserError(f"{path} gives {network.output_shapes}, expected one embedding of a fixed width for each face")

    def embed(chips: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n e"]:
        pixels = (chips.astype(np.float32) - mean) / np.float32(deviation)
        pixels = pixels[..., ::-1] if colour_order == "bgr" else pixels
        pixels = pixels.transpose(0, 3, 1, 2) if channels_first else pixels
        return network(np.ascontiguousarray(pixels))[0].astype(np.float32)

    return AlignedFaceRecogniser(
        embed,
        name=f"onnx_{path.stem}_{colour_order}_{mean:g}_{deviation:g}",
        weight_hash=file_hash(path),
        embedding_dim=embedding_dim,
        template=arcface_template(size),
        size=size,
        batch=batch or _BATCH,
    )


def _fixed(shape: list[int | str | None]) -> tuple[int | None, ...]:
    """A shape as onnxruntime tells it, where an axis of any size has a name."""
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape)
