"""CogVideoX: network, autoencoder, sizes, and the names of its weights."""

from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.codec import load_codec

BACKBONE = CogVideoX

__all__ = ["BACKBONE", "load_codec"]
