"""SemanticREPA in JAX: depth and face identity as supervision for image-to-video diffusion transformers."""

__version__ = "0.1.0"
