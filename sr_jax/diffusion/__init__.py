"""Diffusion without the network: the noise schedule, the samplers and guidance."""
