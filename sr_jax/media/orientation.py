"""Which way up a decoded frame is shown: phones store frames as they come, with a matrix that says how to turn them."""

from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from jaxtyping import Shaped

from sr_jax.errors import UserError

# A display matrix has nine numbers of 32 bits; the first two of each of its first two rows turn and mirror.
_MATRIX_BYTES = 9 * 4


class Orientation(NamedTuple):
    """One of the eight ways to show a frame: rows become columns first, then it is mirrored and turned over.

    Attributes:
        transposed: Whether rows become columns.
        mirrored: Whether left and right are swapped.
        turned_over: Whether top and bottom are.
    """

    transposed: bool = False
    mirrored: bool = False
    turned_over: bool = False

    def upright(self, pixels: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "y x *c"]:
        """The frame as it is shown; a view of its pixels."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.turned_over else 1, :: -1 if self.mirrored else 1]


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """How a frame is to be shown; an angle that is no quarter turn becomes the nearest one.

    Raises:
        UserError: When the frame carries data of a kind that this PyAV does not know, behind which the matrix is out of
            reach.
    """
    try:
        data = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError as error:
        raise UserError(
            f"its frames carry data that PyAV does not know ({error}): convert it to H.264 first"
        ) from error
    if data is None or data.buffer_size < _MATRIX_BYTES:
        return Orientation()
    # A stored pixel (x, y) is shown at (a x + c y, b x + d y), up to a shift.
    (a, b, _), (c, d, _), _ = np.frombuffer(data, np.int32, 9).reshape(3, 3).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
