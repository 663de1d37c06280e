"""Projectors: small trained networks from hidden states to a teacher's channels, which no export has.

Products are in the compute type, parameters and norms in float32. Kernels are split as the transformer's are.
"""

import math

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.models.convolution import square_conv
from sr_jax.models.flops import Flops
from sr_jax.models.functional import Functional
from sr_jax.models.layers import layer_norm, linear
from sr_jax.parallel.activations import constrain


class MlpProjector(nnx.Module):
    """Three linear layers with SiLU between them, for each token (REPA: `build_mlp`).

    Args:
        width: Channels of the hidden states.
        hidden: Channels of both hidden layers.
        channels: The teacher's.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, hidden: int, channels: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.proj_in = linear(width, hidden, ("embed", "mlp"), rngs=rngs, dtype=dtype)
        self.proj_hidden = linear(hidden, hidden, ("mlp", "embed"), rngs=rngs, dtype=dtype)
        self.proj_out = linear(hidden, channels, ("embed", "embedding"), rngs=rngs, dtype=dtype)

    def __call__(self, tokens: Float[Array, "b t y x d"]) -> Float[Array, "b t y x c"]:
        """Projects every token alike."""
        hidden = jax.nn.silu(self.proj_in(_whole(tokens)))
        return self.proj_out(jax.nn.silu(self.proj_hidden(hidden)))


class LinearProjector(nnx.Module):
    """LayerNorm and one linear layer, for each token (CREPA).

    Args:
        width: Channels of the hidden states.
        channels: The teacher's.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, channels: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.dtype = dtype
        self.norm = layer_norm(width, 1e-5, rngs=rngs)
        self.proj_out = linear(width, channels, ("embed", "embedding"), rngs=rngs, dtype=dtype)

    def __call__(self, tokens: Float[Array, "b t y x d"]) -> Float[Array, "b t y x c"]:
        """Projects every token alike."""
        return self.proj_out(self.norm(_whole(tokens)).astype(self.dtype))


class ConvProjector(nnx.Module):
    """One 3x3 convolution over the tokens of each frame, with zeros around them (iREPA).

    Args:
        width: Channels of the hidden states.
        channels: The teacher's.
        rngs: Initialisation keys.
        dtype: Compute type.
    """

    def __init__(self, width: int, channels: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.conv = square_conv(width, channels, 3, rngs=rngs, dtype=dtype)

    def __call__(self, tokens: Float[Array, "b t y x d"]) -> Float[Array, "b t y x c"]:
        """Projects every frame alike."""
        return self.conv(_whole(tokens))


def projector_flops(projector: Functional, num_tokens: int) -> Flops:
    """A projector on so many tokens: each of them meets every weight of a kernel once."""
    kernels = [leaf.shape for leaf in jax.tree.leaves(projector.abstract_params()) if len(leaf.shape) > 1]
    return Flops(2 * num_tokens * sum(map(math.prod, kernels)), 0)


def _whole(tokens: Array) -> Array:
    """Every device that has a sample has all of its tokens: a grid's axes need not divide a mesh's."""
    return constrain(tokens, "batch", None, None, None, None)
