"""Config keys and their declaration: type, range, default, meaning. Nothing here imports JAX."""
