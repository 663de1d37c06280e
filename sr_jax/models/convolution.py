"""The convolution of all image and video networks here."""

from collections.abc import Sequence

from flax import nnx
from jax.typing import DTypeLike


def conv(
    in_features: int,
    out_features: int,
    size: Sequence[int],
    *,
    rngs: nnx.Rngs,
    dtype: DTypeLike | None = None,
    padding: int | str | Sequence[tuple[int, int]],
    stride: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: nnx.initializers.Initializer | None = None,
) -> nnx.Conv:
    """A convolution over the last `len(size)` axes before the channels, whose parameters carry `logical_axes`.

    Args:
        in_features: Channels in.
        out_features: Channels out.
        size: The kernel's sides.
        rngs: Initialisation keys.
        dtype: Compute type; that of input and parameters when None.
        padding: Zeros before and after each side; "SAME" gives sides divided by `stride` and rounded up.
        stride: Of every side.
        groups: Parts of the channels that see themselves alone.
        use_bias: Whether there is a bias.
        kernel_init: He-normal when None.
    """
    return nnx.Conv(
        in_features,
        out_features,
        tuple(size),
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init or nnx.initializers.he_normal(),
        kernel_metadata={"logical_axes": (*("kernel",) * len(size), "conv_in", "conv_out")},
        bias_metadata={"logical_axes": ("conv_out",)},
        rngs=rngs,
    )


def square_conv(in_features: int, out_features: int, side: int, **options) -> nnx.Conv:
    """A convolution of images with half the kernel as padding, unless `options` of `conv` say otherwise."""
    return conv(in_features, out_features, (side, side), **{"padding": side // 2} | options)
