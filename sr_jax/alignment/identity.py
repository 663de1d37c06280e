"""L_ID, the identity alignment loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def identity_loss(
    embeddings: Float[Array, "b t e"], target: Float[Array, "b t e"], face_mask: Float[Array, "b t"]
) -> Float[Array, "b"]:
    """`L_ID`: mean absolute difference of face embeddings over the frames that show a face, for each sample.

    A clip without any face gives exactly 0, with exactly zero gradient, whatever is in `embeddings` and `target`.
    Each clip's value depends on that clip only, not on the company it has in the batch.

    Args:
        embeddings: The identity module's output, unit length along the last axis.
        target: The recogniser's embeddings `f`, unit length where `face_mask` is 1.
        face_mask: `m`, 1 where a face was found in the frames that the latent frame covers, else 0.
    """
    found = face_mask > 0
    # The mask is applied before the difference: what stands in an unmasked place can be anything, also not finite.
    difference = jnp.where(found[..., None], embeddings.astype(jnp.float32) - target.astype(jnp.float32), 0.0)
    per_frame = jnp.mean(jnp.abs(difference), axis=-1)
    return jnp.sum(per_frame, axis=-1) / jnp.maximum(jnp.sum(found, axis=-1), 1)
