"""Kernels of linear layers stored as 8-bit integers, for weights that are read and never trained.

Symmetric, one scale for each output channel (Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 2.1, with a
zero-point of 0): `W[i, j]` is stored as `q[i, j] = round(W[i, j] / s[j])` with `s[j] = max_i |W[i, j]| / 127`, so that
`|W - q s| <= s / 2`. A layer computes `(x q) s + b`: integers to 127 are exact in bfloat16, and the scale of a channel
comes out of its sum.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jaxtyping import Array, Float, Int8

from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.parallel.lazy import AnyArray, Index, LazyArray, row_groups

KERNEL, SCALE = "kernel_q", "kernel_scale"

_LARGEST = 127
# Of kernels in host memory at once while their scales are found.
_PART_BYTES = 256 * 2**20


class Int8Linear(nnx.Module):
    """A linear layer whose kernel is `kernel_q` `[..., in, out]`, int8, times `kernel_scale` `[..., 1, out]`, float32.

    It starts with zeros: kernels are rounded from those of a checkpoint (`quantised`), not drawn.

    Args:
        linear: The layer that it stands for, whose bias it has; its kernel may be stacked, `[layers, in, out]`.
    """

    def __init__(self, linear: nnx.Linear):
        shape = linear.kernel.get_value().shape
        axes = linear.kernel.get_metadata()["logical_axes"]
        # These types stay, whatever other frozen parameters are stored in; of the scales there are few.
        self.kernel_q = nnx.Param(jnp.zeros(shape, jnp.int8), logical_axes=axes, stored_as="int8")
        scale = jnp.zeros((*shape[:-2], 1, shape[-1]), jnp.float32)
        self.kernel_scale = nnx.Param(scale, logical_axes=("scale", axes[-1]), stored_as="float32")
        self.bias, self.dtype = linear.bias, linear.dtype

    def __call__(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        """Applies the layer in its compute type."""
        y = int8_product(x.astype(self.dtype), self.kernel_q[...], self.kernel_scale[...])
        return y if self.bias is None else y + self.bias.astype(self.dtype)


@functools.partial(jax.checkpoint, prevent_cse=False)
def int8_product(
    x: Float[Array, "*batch d"], kernel: Int8[Array, "d e"], scale: Float[Array, "1 e"]
) -> Float[Array, "*batch e"]:
    """`x` times the kernel that the integers stand for, in the type of `x`.

    Rematerialised by itself, so that no policy (`models.remat`) keeps the kernels of all blocks as floats for the
    backward pass: there is one at a time.
    """
    return ((x @ kernel.astype(x.dtype)) * scale[0]).astype(x.dtype)


class Int8Functional(Functional):
    """A module the stacked kernels of whose blocks are stored as integers; all else of it stays as it is.

    Those are nearly all parameters of a large model. Attention, feed-forward and modulations have them; norms, biases,
    and the layers before and after the blocks are not touched.

    Args:
        module: The module, whose blocks are stacked.

    Raises:
        UserError: When it has no stacked blocks.
    """

    def __init__(self, module: Functional):
        super().__init__(lambda rngs: _in_int8(module.build(rngs)))


def _in_int8(module: nnx.Module) -> nnx.Module:
    stacked = [
        (path, layer)
        for path, layer in nnx.iter_modules(module)
        if isinstance(layer, nnx.Linear) and layer.kernel.get_value().ndim == 3
    ]
    if not stacked:
        raise UserError(
            "config.lora.base_type is 'int8', which is for kernels that are stacked over blocks, and this backbone has "
            "none: set it to frozen_dtype"
        )
    for path, layer in stacked:
        parent = functools.reduce(getattr, path[:-1], module)
        setattr(parent, path[-1], Int8Linear(layer))
    return module


def quantised(params: Params, abstract: Params) -> Params:
    """The parameters of a module as an `Int8Functional` of it has them; kernels are read and rounded part by part.

    Args:
        params: Of the module, arrays of any kind.
        abstract: `Int8Functional.abstract_params()`, or another tree with its structure.

    Raises:
        UserError: When a part is read of a kernel that is not finite, which no integer can say.
    """
    flat, found = traverse_util.flatten_dict(params), {}
    for path in traverse_util.flatten_dict(abstract):
        if path[-1] == KERNEL:
            kernel = flat[*path[:-1], "kernel"]
            found[path], found[*path[:-1], SCALE] = _lazily_quantised(kernel, ".".join(map(str, path[:-1])))
        elif path[-1] != SCALE:
            found[path] = flat[path]
    return traverse_util.unflatten_dict(found)


def _lazily_quantised(kernel: AnyArray, name: str) -> tuple[LazyArray, LazyArray]:
    @functools.cache
    def scales() -> np.ndarray:
        found = np.concatenate([channel_scales(kernel[index]) for index in row_groups(kernel, _PART_BYTES)])
        if not np.isfinite(found).all():
            raise UserError(f"the weights of {name} are not finite, so they cannot be stored in int8: name others")
        return found

    def integers(index: Index) -> np.ndarray:
        blocks, rows, columns = index
        numbers = np.arange(len(scales()))[blocks]
        # One block at a time: as floats all of them are gigabytes.
        parts = [quantise(kernel[n : n + 1, rows, columns], scales()[n : n + 1, :, columns]) for n in numbers]
        return np.concatenate(parts)

    layers, _, channels = kernel.shape
    return (
        LazyArray(kernel.shape, np.dtype(np.int8), integers, getattr(kernel, "rows", 1)),
        LazyArray((layers, 1, channels), np.dtype(np.float32), lambda index: scales()[index]),
    )


def channel_scales(kernel: AnyArray) -> np.ndarray:
    """The scale of each output channel of kernels `[..., in, out]`, `[..., 1, out]` in float32; 1 where all are 0."""
    largest = np.abs(np.asarray(kernel, np.float32)).max(axis=-2, keepdims=True)
    return np.where(largest == 0, np.float32(1), largest / np.float32(_LARGEST))


def quantise(kernel: AnyArray, scale: np.ndarray) -> np.ndarray:
    """The integers of kernels `[..., in, out]`, or of some of their rows, with the scales of their channels."""
    return np.rint(np.asarray(kernel, np.float32) / scale).astype(np.int8)
