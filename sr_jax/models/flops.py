"""Floating-point operations of networks, in closed form: 2 for each multiply-add of a product.

What is not a matrix product or a convolution (norms, activations, softmax, rotation) is left out, as in every published
model FLOP utilisation; a convolution counts the zeros that it pads with.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Flops:
    """Operations of one forward pass.

    Attributes:
        weights: In products of activations with parameters.
        attention: In products of activations with each other.
    """

    weights: int
    attention: int

    @property
    def forward(self) -> int:
        """Of the forward pass."""
        return self.weights + self.attention

    @property
    def training(self) -> int:
        """Of a forward and a backward pass that trains the parameters: each product has two products behind it."""
        return 3 * self.forward

    @property
    def through(self) -> int:
        """Of a forward pass and a backward pass to the inputs alone, as through a frozen module."""
        return 2 * self.weights + 3 * self.attention

    def __add__(self, other: "Flops") -> "Flops":
        """Of both."""
        return Flops(self.weights + other.weights, self.attention + other.attention)
