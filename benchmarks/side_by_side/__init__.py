"""The same work in sr_jax and in PyTorch, on one machine and in turn."""
