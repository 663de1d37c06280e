"""The small learned codec as everything else sees it: a `VideoCodec`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.backbones.codec import VideoCodec, decode_causal, latent_frames
from sr_jax.demo.small_codec.network import SmallCodecConfig, codec_network, decoder_network, encoder_network
from sr_jax.demo.small_faces.weights import read_config, read_params, save_network
from sr_jax.models.functional import Functional, Params
from sr_jax.sections import Section, weights_path
from sr_jax.teachers.base import file_hash

# Clips in one call of a network when there are many.
_CHUNK = 4


def load(section: Section) -> VideoCodec:
    """Loads the codec from the file that the section's `path` names.

    Raises:
        UserError: If there is no path, or the file is missing or is not such a codec.
    """
    return SmallVideoCodec.load(weights_path(section))


class CodecNetworks(NamedTuple):
    """Both networks of a codec, without parameters."""

    encoder: Functional
    decoder: Functional

    @classmethod
    def of(cls, config: SmallCodecConfig) -> "CodecNetworks":
        """The networks of this size."""
        return cls(encoder_network(config), decoder_network(config))


@dataclass(frozen=True)
class SmallVideoCodec(VideoCodec):
    """A codec of small residual networks; it is deterministic, so the standard deviation of its latents is 0.

    Both directions are causal: a latent frame is made from its own video frames and earlier ones.

    Attributes:
        config: Sizes.
        params: Of `encoder` and `decoder`; the scale of the latents is in the last maps of `encoder`.
        weight_hash: Names the weights in provenance.
        name: What provenance calls this codec.
        scaling_factor: 1: see `params`.
        image_condition_factor: 1: a conditioning image is encoded as any other.
    """

    config: SmallCodecConfig
    params: Params
    weight_hash: str
    name: str = field(default="small", init=False)
    scaling_factor: float = field(default=1.0, init=False)
    image_condition_factor: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        networks = CodecNetworks.of(self.config)
        object.__setattr__(self, "_encode", jax.jit(networks.encoder.apply))
        object.__setattr__(self, "_decode", jax.jit(networks.decoder.apply))

    @property
    def latent_channels(self) -> int:
        """Channels of a latent pixel."""
        return self.config.latent_channels

    @property
    def temporal_compression_ratio(self) -> int:
        """Video frames in a latent frame, except the first."""
        return self.config.temporal_compression_ratio

    @property
    def spatial_compression_ratio(self) -> int:
        """Pixels along each side of a latent pixel."""
        return self.config.spatial_compression_ratio

    def latent_frames(self, num_frames: int) -> int:
        """Returns T of a clip of F frames.

        Raises:
            UserError: If F is not 1 plus a multiple of the ratio, naming the next ones that are.
        """
        return latent_frames(num_frames, self.temporal_compression_ratio)

    def encode(self, video: Float[Array, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], Float[Array, "b t y x c"]]:
        """Returns the latents of a video in [-1, 1] and their standard deviation, which is 0 everywhere.

        Raises:
            UserError: If the number of frames or the size does not fit the codec.
        """
        latents = self._encode(self.params["encoder"], jnp.asarray(video))
        return latents, jnp.zeros_like(latents)

    def encode_image(self, image: Float[Array, "b h w 3"], key: jax.Array) -> Float[Array, "b 1 y x c"]:
        """Encodes an image in [-1, 1] as the one frame of a video; the key is without effect."""
        del key
        return self.encode(image[:, None])[0]

    def decode(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Decodes latents to a video about in [-1, 1] (not clipped, so that gradients flow everywhere)."""
        return self._decode(self.params["decoder"], latents)

    def decode_to_host(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Float[np.ndarray, "b f h w 3"]:
        """`decode`, a few clips at a time."""
        parts = [latents[start : start + _CHUNK] for start in range(0, len(latents), _CHUNK)]
        return np.concatenate([np.asarray(self.decode(jnp.asarray(part))) for part in parts])

    def decode_pieces(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Iterator[Float[np.ndarray, "b f h w 3"]]:
        """`decode`, a few latent frames at a time; each block of the decoder looks one of them back."""
        ratio = self.temporal_compression_ratio
        return decode_causal(self.decode, latents, before=self.config.decoder_blocks, temporal_compression_ratio=ratio)

    def save(self, path: Path) -> None:
        """Writes the codec, rounded to float16: whole, or not at all."""
        save_network(path, self.config, self.params)

    @classmethod
    def load(cls, path: Path) -> "SmallVideoCodec":
        """Reads a codec that `save` wrote.

        Raises:
            UserError: If the file is missing or is not such a codec.
        """
        config = read_config(path, SmallCodecConfig)
        return cls(config, read_params(path, codec_network(config)), file_hash(path))
