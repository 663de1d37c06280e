"""CogVideoX: network, autoencoder, sizes, and the names of its weights."""

from sr_jax.backbones.codec import VideoCodec
from sr_jax.sections import Section


def load_codec(section: Section) -> VideoCodec:
    """Loads the released autoencoder; see `codec.load_codec`."""
    # Here, because conversion imports this package.
    from sr_jax.backbones.cogvideox import codec

    return codec.load_codec(section)
