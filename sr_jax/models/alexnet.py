"""The convolutions of AlexNet (Krizhevsky 2014, arXiv 1404.5997), a source of features from five depths.

The weights are always loaded, so fresh ones are of a plain scale. Reference class: `AlexNet` (torchvision).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sr_jax.models.convolution import conv

WIDTHS = (64, 192, 384, 256, 256)
"""Channels behind each convolution."""

# Side, stride and padding of each convolution, and whether a maximum pool lies before it.
_LAYERS = ((11, 4, 2, False), (5, 1, 2, True), (3, 1, 1, True), (3, 1, 1, False), (3, 1, 1, False))


class AlexNet(nnx.Module):
    """Features behind each of the five ReLUs.

    Args:
        widths: Channels behind each convolution.
        rngs: Initialisation keys.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, rngs: nnx.Rngs):
        ends = zip((3, *widths), widths, _LAYERS, strict=False)
        self.layers = nnx.List(
            [
                conv(before, behind, (side, side), padding=padding, stride=stride, rngs=rngs)
                for before, behind, (side, stride, padding, _) in ends
            ]
        )

    def __call__(self, images: Float[Array, "n h w 3"]) -> tuple[Float[Array, "n _ _ _"], ...]:
        """Features of normalised RGB images."""
        features, x = [], images.astype(jnp.float32)
        for layer, (*_, pooled) in zip(self.layers, _LAYERS, strict=True):
            if pooled:
                x = nnx.max_pool(x, (3, 3), (2, 2), padding="VALID")
            x = jax.nn.relu(layer(x))
            features.append(x)
        return tuple(features)
