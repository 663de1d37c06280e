"""Changes of images that make small networks read more than they were shown."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def relit(images: Float[Array, "n h w 3"], key: Array) -> Float[Array, "n h w 3"]:
    """Changes contrast, brightness and colour cast of each image, and adds noise."""
    keys = jax.random.split(key, 4)
    n = len(images)
    contrast = 1 + 0.15 * jax.random.uniform(keys[0], (n, 1, 1, 1), minval=-1)
    offset = 0.1 * jax.random.uniform(keys[1], (n, 1, 1, 1), minval=-1)
    cast = 0.03 * jax.random.uniform(keys[2], (n, 1, 1, 3), minval=-1)
    return images * contrast + offset + cast + 0.02 * jax.random.normal(keys[3], images.shape)


def recoloured(images: Float[Array, "n h w 3"], key: Array) -> Float[Array, "n h w 3"]:
    """Shuffles the colour channels of a third of the images: a network must not rely on known clothes and hair."""
    choose_key, order_key = jax.random.split(key)
    shuffled = jax.random.permutation(order_key, images, axis=-1)
    return jnp.where(jax.random.bernoulli(choose_key, 1 / 3, (len(images), 1, 1, 1)), shuffled, images)


def softened(images: Float[Array, "n h w 3"], key: Array) -> Float[Array, "n h w 3"]:
    """Takes detail from each image by a share drawn evenly from 0 to 1, as generated frames lack it.

    Both sides must be multiples of 4.
    """
    n, height, width, channels = images.shape
    coarse = images.reshape(n, height // 4, 4, width // 4, 4, channels).mean(axis=(2, 4))
    share = jax.random.uniform(key, (n, 1, 1, 1))
    return images + share * (jax.image.resize(coarse, images.shape, "linear") - images)
