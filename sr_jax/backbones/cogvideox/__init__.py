"""CogVideoX: network, autoencoder, sizes, and the names of its weights."""

from sr_jax.backbones.cogvideox.backbone import CogVideoX as Backbone
from sr_jax.backbones.cogvideox.codec import load_codec

__all__ = ["Backbone", "load_codec"]
