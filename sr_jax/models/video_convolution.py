"""Convolutions of video in the form that the platform computes fastest; the numbers are the same but for rounding.

All take and return `[B, T, H, W, C]` and have no bias. On the CPU, frames are filtered by products of two-dimensional
convolutions. Of 3x3x3 kernels over 128 channels in float32, XLA's three-dimensional convolution does 67 GFLOP in a
second of a core, a sum of three two-dimensional ones 136, and oneDNN's, which PyTorch calls, 171; with six products for
four frames in place of twelve, 8 frames of 64x96 take 0.62 of oneDNN's time, and of 512 channels 4 frames of 16x24 take
0.73 (Xeon with AVX-512). Elsewhere a convolution is left whole: that is what compilers for accelerators are good at.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

PAST = 2
"""Frames before its own that a causal convolution sees."""

Video = Float[Array, "b t h w c"]
Past = Float[Array, "b 2 h w c"]
Convolved = Float[Array, "b t h w d"]
Enlarged = Float[Array, "b t 2*h 2*w d"]
Kernel3d = Float[Array, "3 3 3 c d"]
Kernel2d = Float[Array, "3 3 c d"]

# Transforming the kernels costs as much as a convolution of about a hundred pixels.
_LEAST_PIXELS = 256


class Forms(NamedTuple):
    """How convolutions are computed.

    Attributes:
        causal: From frames, the `PAST` frames before them or None, and a kernel, to as many frames; rows and columns
            are padded with zeros. At the start of a clip there are two or more frames.
        enlarged: From frames and a kernel to the convolution, padded with zeros, of frames of twice the rows and
            columns, each pixel repeated. None: as that is said.
    """

    causal: Callable[[Video, Past | None, Kernel3d], Convolved]
    enlarged: Callable[[Video, Kernel2d], Enlarged] | None


def choose(platform: str, dtype: DTypeLike, height: int, width: int) -> Forms:
    """The forms for frames of this type and size on a platform: "cpu", or any other."""
    if platform == "cpu" and dtype == jnp.float32 and height * width >= _LEAST_PIXELS:
        return Forms(filter_frames, convolve_phases)
    return Forms(convolve_volume, None)


def causal(x: Video, past: Past | None, kernel: Kernel3d, forms: Forms) -> Convolved:
    """A 3x3x3 convolution that sees no later frame; before the first frame of a clip, the first one is repeated.

    Args:
        x: Frames.
        past: The `PAST` frames before them; None at the start of a clip.
        kernel: Of the earliest frame first.
        forms: As `choose` says.
    """
    if past is None and x.shape[1] == 1:
        # It meets nothing but itself: a third of the work.
        return _convolve_frames(x, kernel.sum(axis=0))
    return forms.causal(x, past, kernel)


def convolve_volume(x: Video, past: Past | None, kernel: Kernel3d) -> Convolved:
    """`Forms.causal` as one three-dimensional convolution."""
    return jax.lax.conv_general_dilated(
        jnp.concatenate([_before(x) if past is None else past, x], axis=1),
        kernel,
        window_strides=(1, 1, 1),
        padding=((0, 0), (1, 1), (1, 1)),
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def _before(x: Video) -> Past:
    return jnp.repeat(x[:, :1], PAST, axis=1)


class _Filter(NamedTuple):
    # Results are `outputs @ ((inputs @ frames) * (kernels @ taps))`.
    inputs: Float[np.ndarray, "products frames"]
    kernels: Float[np.ndarray, "products 3"]
    outputs: Float[np.ndarray, "results products"]


# By how many frames result: four by six products in place of twelve, two by four in place of six.
_FILTERS = {
    4: _Filter(
        inputs=np.float32(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
        kernels=np.float32([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        outputs=np.float32([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
    ),
    2: _Filter(
        inputs=np.float32([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
        kernels=np.float32([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        outputs=np.float32([[1, 1, 1, 0], [0, 1, -1, -1]]),
    ),
    1: _Filter(inputs=np.eye(3, dtype=np.float32), kernels=np.eye(3, dtype=np.float32), outputs=np.float32([[1] * 3])),
}


def filter_frames(x: Video, past: Past | None, kernel: Kernel3d) -> Convolved:
    """`Forms.causal` by minimal filtering over frames (Winograd 1980; Lavin & Gray 2016, section 4).

    A product of the algorithm is a two-dimensional convolution of a sum of frames. The root of the mean square error is
    1.8 times that of the direct form, 7e-7 of the values.
    """
    if past is None and x.shape[1] % 2:
        # The first of an odd number is done alone, and an even number is left.
        first = _convolve_frames(x[:, :1], kernel.sum(axis=0))
        return jnp.concatenate([first, filter_frames(x[:, 1:], _before(x), kernel)], axis=1)
    past = _before(x) if past is None else past
    # The last of them divides any number.
    count = next(count for count in _FILTERS if x.shape[1] % count == 0)
    inputs, kernels, outputs = _FILTERS[count]
    frames = jnp.concatenate([past, x], axis=1)
    last = x.shape[1] - count + 1
    frames = [frames[:, start : start + last : count] for start in range(count + PAST)]
    products = [
        _convolve_frames(_combine(of_frames, frames), _combine(of_taps, tuple(kernel)))
        for of_frames, of_taps in zip(inputs, kernels, strict=True)
    ]
    results = jnp.stack([_combine(of_products, products) for of_products in outputs], axis=2)
    return results.reshape(*x.shape[:-1], -1)


def _combine(weights: Float[np.ndarray, "parts"], parts: Iterable[Array]) -> Array:
    # Written out: a product with a matrix would move the axis of the parts in memory.
    return sum(weight * part for weight, part in zip(weights, parts, strict=True) if weight)


def convolve_phases(x: Video, kernel: Kernel2d) -> Enlarged:
    """`Forms.enlarged` with 16 products a pixel in place of 36.

    Of three neighbours in an enlarged row two are equal: a pixel at an even place sees two different ones, with its
    own kernel of two, and so does one at an odd place.
    """

    def phases(taps: Array) -> tuple[Array, Array]:
        return jnp.stack([taps[0], taps[1] + taps[2]]), jnp.stack([taps[0] + taps[1], taps[2]])

    around = ((1, 0), (0, 1))
    rows = []
    for of_rows, padding in zip(phases(kernel), around, strict=True):
        both = zip(phases(of_rows.swapaxes(0, 1)), around, strict=True)
        columns = [_convolve_frames(x, two.swapaxes(0, 1), (padding, beside)) for two, beside in both]
        rows.append(jnp.stack(columns, axis=4))
    b, t, h, w, _ = x.shape
    return jnp.stack(rows, axis=3).reshape(b, t, 2 * h, 2 * w, -1)


def _convolve_frames(
    x: Video, kernel: Float[Array, "rows columns c d"], padding: tuple[tuple[int, int], ...] = ((1, 1), (1, 1))
) -> Convolved:
    frames = x.reshape(-1, *x.shape[2:])
    out = jax.lax.conv_general_dilated(frames, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return out.reshape(*x.shape[:2], *out.shape[1:])
