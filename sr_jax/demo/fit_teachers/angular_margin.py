"""The loss that a face recogniser learns from."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def angular_margin_loss(
    embeddings: Float[Array, "n e"],
    centres: Float[Array, "k e"],
    labels: Int[Array, " n"],
    *,
    scale: float,
    margin: float | Float[Array, ""],
) -> Float[Array, " n"]:
    """ArcFace (Deng et al. 2019, equation 3): cross-entropy over cosines, with an angle added at the true class.

    Args:
        embeddings: Of unit length.
        centres: One for each of K identities, any length.
        labels: Identity of each embedding, in [0, K).
        scale: What cosines are multiplied by (the paper's s).
        margin: Added angle in radians (the paper's m).
    """
    centres = centres / jnp.linalg.norm(centres, axis=1, keepdims=True)
    # Short of 1, where the derivative of arccos is infinite.
    cosines = jnp.clip(embeddings @ centres.T, -1 + 1e-6, 1 - 1e-6)
    harder = jnp.cos(jnp.minimum(jnp.arccos(cosines) + margin, jnp.pi))
    is_label = jax.nn.one_hot(labels, len(centres), dtype=bool)
    logits = scale * jnp.where(is_label, harder, cosines)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
