"""What transformer blocks keep for their backward pass and hold while it runs, counted and not compiled.

Counted are arrays of the size of a clip's tokens; the rest of a step's temporaries is small beside them. The counts are
those of a block as CogVideoX has it (`backbones.cogvideox.transformer`): products and the residual stream in the
compute type, norms and rotations in float32.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sr_jax.models.attention_kernels import dq_bytes, splash_blocks

_FLOAT32 = 4
# Kernels of other input axes are read once a clip, not once a token: modulations by the time embedding.
_TOKEN_AXES = ("embed", "heads", "mlp")
_LANES = 128


class _Arrays(NamedTuple):
    """How many arrays of each kind a block's backward pass holds at once, if nothing is freed before its end.

    Attributes:
        heads_float32: Of all heads: queries and keys normalised, rotated and turned, and the gradients of these.
        heads: In the compute type: queries, keys, values, the result of attention, and their gradients.
        hidden: Of the feed-forward's hidden units, in the compute type.
        stream_float32: Of the model's width: what norms and modulations read and put out, and gradients.
        stream: In the compute type: inputs of products, what the branches add, gradients.
    """

    heads_float32: int
    heads: int
    hidden: int
    stream_float32: int
    stream: int


_HELD = {
    # Hidden units before and after the GELU, with gradients; gradients of kernels need the inputs of all products.
    "trained": _Arrays(heads_float32=12, heads=8, hidden=4, stream_float32=8, stream=8),
    # Beside frozen kernels only the inputs of products that have factors.
    "adapted": _Arrays(heads_float32=8, heads=8, hidden=2, stream_float32=3, stream=6),
    "frozen": _Arrays(heads_float32=8, heads=8, hidden=2, stream_float32=3, stream=4),
}


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The stacked blocks of one network.

    Attributes:
        layers: How many.
        stream: Width of the residual stream.
        heads: Width of all heads together.
        hidden: Hidden units of the feed-forward.
        num_heads: Attention heads.
        outputs: Widths of what products with tokens put out, all of a block together.
        kernels: Numbers in the kernels of a block.
        largest_kernel: Numbers in the largest of them.
        weights: "trained", "adapted" (frozen, with low-rank factors beside them) or "frozen".
    """

    layers: int
    stream: int
    heads: int
    hidden: int
    num_heads: int
    outputs: int
    kernels: int
    largest_kernel: int
    weights: str


@dataclasses.dataclass(frozen=True)
class Place:
    """A device, and how its share of a batch lies on it.

    Attributes:
        tpu: Whether it is a TPU, whose arrays have rows of whole lanes, and whose attention is splash attention.
        clips: That it has at once.
        tokens: Of a clip.
        ways: Devices that share a clip.
        itemsize: Bytes of the compute type.
    """

    tpu: bool
    clips: int
    tokens: int
    ways: int
    itemsize: int


def blocks_of(module: nnx.State, num_heads: int, weights: str) -> Blocks | None:
    """The blocks of a network; None where it has none that are stacked.

    Args:
        module: `Functional.abstract`.
        num_heads: Of its attention.
        weights: See `Blocks`.
    """
    widths: dict[str, int] = {}
    outputs, sizes, layers = 0, [], 0
    for path, variable in nnx.to_flat_state(module):
        shape, axes = variable.get_value().shape, variable.get_metadata()["logical_axes"]
        if path[-1] not in ("kernel", "kernel_q") or len(shape) != 3:
            continue
        layers, *matrix = shape
        sizes.append(math.prod(matrix))
        if axes[0] in _TOKEN_AXES:
            widths |= dict(zip(axes, matrix, strict=True))
            outputs += matrix[1]
    if not sizes:
        return None
    stream, heads, hidden = (widths.get(axis, 0) for axis in _TOKEN_AXES)
    return Blocks(layers, stream, heads, hidden, num_heads, outputs, sum(sizes), max(sizes), weights)


def activation_bytes(networks: Sequence[Blocks], place: Place, remat: str) -> tuple[int, int]:
    """Bytes of what is kept, and of what one block holds beside it, when they are most together.

    Networks run one after the other, and backwards the last one first, while the others' activations wait.

    Args:
        networks: In the order in which they run.
        place: The device.
        remat: One of `models.remat.POLICIES`.
    """
    kept, found = 0, [(0, 0)]
    for blocks in networks:
        kept += blocks.layers * _kept_by_a_block(blocks, place, remat)
        found.append((kept, _held_by_a_block(blocks, place)))
    return max(found, key=sum)


def _kept_by_a_block(blocks: Blocks, place: Place, remat: str) -> int:
    if remat == "none":
        # What the forward half of a block makes.
        return _held_by_a_block(blocks, place) // 2
    stream, attention = _of_tokens(blocks.stream, place), _kept_of_attention(blocks, place)
    kept = {
        "save_matmuls": stream + _of_tokens(blocks.outputs, place) + attention,
        "save_attention": stream + attention,
        "block": stream,
        # In the host's memory.
        "offload": 0,
    }
    return kept[remat]


def _kept_of_attention(blocks: Blocks, place: Place) -> int:
    """Its result, and the logarithm of each query's sum of weights; a TPU has the result without padding as well."""
    sums = _of_tokens(blocks.num_heads, dataclasses.replace(place, itemsize=_FLOAT32))
    return sums + _of_heads(blocks, place, place.itemsize) + (_of_tokens(blocks.heads, place) if place.tpu else 0)


def _held_by_a_block(blocks: Blocks, place: Place) -> int:
    arrays = _HELD[blocks.weights]
    stream = arrays.stream_float32 * _FLOAT32 + arrays.stream * place.itemsize
    heads = arrays.heads_float32 * _FLOAT32 + arrays.heads * place.itemsize
    tokens = dataclasses.replace(place, itemsize=1)
    held = stream * _of_tokens(blocks.stream, tokens) + _of_heads(blocks, place, heads)
    return held + arrays.hidden * _of_tokens(blocks.hidden, place) + (_partial_sums(blocks, place) if place.tpu else 0)


def _of_tokens(width: int, place: Place) -> int:
    """Bytes of an array of so many numbers a token, on one device."""
    return math.ceil(place.clips * place.tokens / place.ways) * width * place.itemsize


def _of_heads(blocks: Blocks, place: Place, itemsize: int) -> int:
    """Bytes of an array of all heads' numbers, whose rows are those of one head.

    Devices that share a clip exchange tokens for heads just before the kernel: what waits is in rows of all heads.
    """
    row = blocks.heads // blocks.num_heads
    padded = row + -row % _LANES if place.tpu and place.ways == 1 else row
    return _of_tokens(blocks.num_heads * padded, dataclasses.replace(place, itemsize=itemsize))


def _partial_sums(blocks: Blocks, place: Place) -> int:
    """Those of the queries' gradient that splash attention's fused backward kernel writes."""
    heads = math.ceil(blocks.num_heads / place.ways)
    dtype = jnp.float32 if place.itemsize == _FLOAT32 else jnp.bfloat16
    q = jax.ShapeDtypeStruct((place.clips, place.tokens, heads, blocks.heads // blocks.num_heads), dtype)
    cut = splash_blocks(q, q)
    return dq_bytes(q, q, cut.block_q, cut.block_kv) if cut.use_fused_bwd_kernel else 0
