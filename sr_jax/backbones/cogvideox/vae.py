"""The CogVideoX autoencoder as a video codec: whole clips in and out, memory bounded in their length and size."""

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sr_jax.backbones.codec import VideoCodec
from sr_jax.backbones.cogvideox.vae_frames import run_frames
from sr_jax.backbones.cogvideox.vae_identity import NAME, image_condition_factor, weight_hash
from sr_jax.backbones.cogvideox.vae_layers import Cache
from sr_jax.backbones.cogvideox.vae_network import TEMPORAL_COMPRESSION_RATIO, Autoencoder, CogVideoXVAEConfig
from sr_jax.backbones.cogvideox.vae_tiling import WHOLE, TileAxis, Tiling, join, run_tiled
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel.batches import to_first_device
from sr_jax.parallel.placed import Placed

# The networks are trained for these and do not adapt to others.
_VIDEO_FRAMES = 8
_LATENT_FRAMES = 2
_LOG_VARIANCE_RANGE = (-30.0, 20.0)


class CogVideoXVAE(VideoCodec):
    """A `VideoCodec` (diffusers: `AutoencoderKLCogVideoX`).

    Clips go through the networks a few frames at a time, each batch of frames with what the causal convolutions
    remember of the last, in the same cuts as in diffusers: 8 video frames, 2 latent frames, and the remainder in the
    first batch. One batch of frames is compiled here, whatever the length of a clip. `encode` and `decode` can be
    differentiated; a `jit` around them would only build the weights and a copy of the network for each batch into one
    large program.

    Attributes:
        name: What provenance calls this codec.
        temporal_compression_ratio: Video frames in a latent frame, except the first.
        config: Sizes and scaling factor.
        tiling: How larger images are cut; None runs them whole.
    """

    name = NAME
    temporal_compression_ratio = TEMPORAL_COMPRESSION_RATIO

    def __init__(
        self,
        config: CogVideoXVAEConfig,
        params: Params,
        *,
        dtype: DTypeLike = jnp.float32,
        tiling: Tiling | None = None,
        known_hash: str = "",
    ):
        """Nothing is compiled, or put onto a device, before the first use.

        Args:
            config: Sizes.
            params: Parameters of `Autoencoder` as a nested dict of arrays of any kind; JAX's stay where they are, and
                others go to the first device.
            dtype: Compute type.
            tiling: How to cut images larger than a tile, or None.
            known_hash: `weight_hash`, where it was written down when the weights were saved.

        Raises:
            UserError: If the tiles do not fit together.
        """
        self.config, self.tiling, self._known_hash = config, tiling, known_hash
        # On the device: arrays in host memory would travel with every call, or be built into the caller's program.
        self._weights = Placed(params, _to_device)
        ratio = config.spatial_compression_ratio
        self._encode_tiles = tiling.encoding(ratio) if tiling else (WHOLE, WHOLE)
        self._decode_tiles = tiling.decoding(ratio) if tiling else (WHOLE, WHOLE)
        model = nnx.eval_shape(lambda: Autoencoder(config, rngs=nnx.Rngs(0), dtype=dtype))
        graphdef, _ = nnx.split(model, nnx.Param)

        def encode_step(params: Params, frames: Array, cache: Cache) -> tuple[Array, Cache]:
            moments, cache = nnx.merge(graphdef, params).encoder(frames.astype(dtype), cache)
            return moments.astype(jnp.float32), cache

        def decode_step(params: Params, latents: Array, cache: Cache) -> tuple[Array, Cache]:
            frames, cache = nnx.merge(graphdef, params).decoder(latents.astype(dtype), cache)
            return frames.astype(jnp.float32), cache

        # A cache is given up for the next one, in the same memory.
        self._encode_step = jax.jit(encode_step, donate_argnums=2)
        self._decode_step = jax.jit(decode_step, donate_argnums=2)

    @property
    def params(self) -> Params:
        """Nested dict of the parameters of `Autoencoder`, float32, on their device."""
        return self._weights.tree

    @property
    def spatial_compression_ratio(self) -> int:
        """Pixels along each side of a latent pixel."""
        return self.config.spatial_compression_ratio

    @property
    def latent_channels(self) -> int:
        """Channels of a latent pixel."""
        return self.config.latent_channels

    @property
    def scaling_factor(self) -> float:
        """What the networks' latents are multiplied by for the transformer."""
        return self.config.scaling_factor

    @functools.cached_property
    def weight_hash(self) -> str:
        """First 16 hex digits of the sha256 of config and weights; compute type and tiling do not count."""
        return self._known_hash or weight_hash(self.config, self.params)

    @property
    def image_condition_factor(self) -> float:
        """What the scaled latents of a conditioning image are multiplied by: not 1 where `invert_scale_latents`."""
        return image_condition_factor(self.config)

    def latent_frames(self, num_frames: int) -> int:
        """Returns T of a clip of F frames: 1 + (F - 1) / 4 where F is 1 plus a multiple of 8, F / 4 where a multiple.

        Clips of other lengths, 1 plus a multiple of 4 among them, are decoded to more frames than were encoded.

        Raises:
            UserError: If F is neither, naming the next lengths that are.
        """
        alone = num_frames % _VIDEO_FRAMES
        if num_frames < 1 or alone > 1:
            shorter = max(num_frames, 0) // _VIDEO_FRAMES * _VIDEO_FRAMES
            raise UserError(
                f"a clip of {num_frames} frames does not fit the CogVideoX autoencoder: use {shorter + 1} or "
                f"{shorter + _VIDEO_FRAMES} (1 plus a multiple of {_VIDEO_FRAMES}, or a multiple)"
            )
        return alone + (num_frames - alone) // self.temporal_compression_ratio

    def encode(self, video: Float[Array, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], Float[Array, "b t y x c"]]:
        """Encodes a video.

        Args:
            video: Values in [-1, 1]. F is 1 plus a multiple of 8, for T = 1 + (F - 1) / 4 latent frames, or a multiple
                of 8, for T = F / 4.

        Returns:
            Mean and standard deviation of the posterior of the scaled latents, float32.

        Raises:
            UserError: If the number of frames or the size does not fit the networks.
        """
        self._check_video(video.shape)
        moments = join(run_tiled(self._encode_frames, video, *_tiles(video.shape, self._encode_tiles)))
        mean, log_variance = jnp.split(moments, 2, axis=-1)
        std = jnp.exp(0.5 * jnp.clip(log_variance, *_LOG_VARIANCE_RANGE))
        return mean * self.scaling_factor, std * self.scaling_factor

    def encode_image(self, image: Float[Array, "b h w 3"], key: jax.Array) -> Float[Array, "b 1 y x c"]:
        """The latents of a conditioning image as the image-to-video models take them: a draw from the posterior.

        Args:
            image: Values in [-1, 1].
            key: Of the draw.

        Raises:
            UserError: If the size does not fit the networks.
        """
        mean, std = self.encode(image[:, None])
        return (mean + std * jax.random.normal(key, mean.shape)) * self.image_condition_factor

    def decode(self, latents: Float[Array, "b t y x c"]) -> Float[Array, "b f h w 3"]:
        """Decodes scaled latents.

        Args:
            latents: T is odd, for F = 1 + 4 (T - 1) video frames, or even, for F = 4 T.

        Returns:
            The video, about in [-1, 1], float32.
        """
        latents = latents / self.scaling_factor
        return join(run_tiled(self._decode_frames, latents, *_tiles(latents.shape, self._decode_tiles)))

    def decode_to_host(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Float[np.ndarray, "b f h w 3"]:
        """`decode` for long videos: the video is put together in host memory, the device holds one batch of frames."""
        video = np.empty(self._video_shape(latents.shape), np.float32)
        self._decode_into(video, latents)
        return video

    def decode_pieces(
        self, latents: Float[Array, "b t y x c"] | Float[np.ndarray, "b t y x c"]
    ) -> Iterator[Float[np.ndarray, "b f h w 3"]]:
        """`decode_to_host`, a batch of frames after the other, each when it is asked for.

        A tile is decoded for all frames before the next one: with tiles the whole video lies in a file meanwhile.
        """
        tiles = _tiles(latents.shape, self._decode_tiles)
        if tiles == (WHOLE, WHOLE):
            yield from map(np.asarray, self._decode_frames(latents / self.scaling_factor))
            return
        with tempfile.TemporaryFile() as file:
            video = np.memmap(file, np.float32, "w+", shape=self._video_shape(latents.shape))
            self._decode_into(video, latents)
            for start in range(0, video.shape[1], _VIDEO_FRAMES):
                yield np.array(video[:, start : start + _VIDEO_FRAMES])

    def decoding_steps(self, size: tuple[int, int]) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
        """The two programs that decode a clip of any length: of the first batch of frames, and of every other.

        Args:
            size: Latent rows and columns of the clip.

        Yields:
            The step, and its arguments (weights, latents, cache) as shapes; it gives up the cache.
        """
        weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._weights.source)
        tiles = _tiles((1, 1, *size), self._decode_tiles)
        sides = [side if tile is WHOLE else min(side, tile.size) for side, tile in zip(size, tiles, strict=True)]
        cache = None
        for frames in (_LATENT_FRAMES + 1, _LATENT_FRAMES):
            latents = jax.ShapeDtypeStruct((1, frames, *sides, self.latent_channels), np.float32)
            yield self._decode_step, (weights, latents, cache)
            _, cache = jax.eval_shape(self._decode_step, weights, latents, cache)

    def release(self) -> None:
        """Takes the weights off the device; see `VideoCodec`."""
        self._weights.release()

    def _decode_into(self, video: np.ndarray, latents: Array | np.ndarray) -> None:
        def run(tile: Array | np.ndarray) -> Iterator[np.ndarray]:
            return map(np.asarray, self._decode_frames(tile))

        written, latents = 0, latents / self.scaling_factor
        for block in run_tiled(run, latents, *_tiles(latents.shape, self._decode_tiles)):
            frames, height, width = block.values.shape[1:4]
            ends = block.frame + frames, block.row + height, block.column + width
            video[:, block.frame : ends[0], block.row : ends[1], block.column : ends[2]] = block.values
            written += block.values.size
        if written != video.size:
            # Never what happened to be in memory.
            raise ValueError(f"the decoder made {written} of the {video.size} values of a video {video.shape}")

    def _encode_frames(self, video: Array) -> Iterator[Array]:
        return run_frames(functools.partial(self._encode_step, self.params), video, _VIDEO_FRAMES)

    def _decode_frames(self, latents: Array | np.ndarray) -> Iterator[Array]:
        return run_frames(functools.partial(self._decode_step, self.params), latents, _LATENT_FRAMES)

    def _video_shape(self, latent_shape: tuple[int, ...]) -> tuple[int, ...]:
        b, t, y, x, _ = latent_shape
        alone, ratio = t % 2, self.spatial_compression_ratio
        return (b, alone + self.temporal_compression_ratio * (t - alone), ratio * y, ratio * x, 3)

    def _check_video(self, shape: tuple[int, ...]) -> None:
        _, frames, height, width, _ = shape
        ratio = self.spatial_compression_ratio
        self.latent_frames(frames)
        if height % ratio or width % ratio:
            raise UserError(
                f"frames of {height}x{width} pixels do not fit the CogVideoX autoencoder: both sides must be multiples "
                f"of {ratio}"
            )


def _to_device(params: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else to_first_device(leaf), params)


def _tiles(shape: Sequence[int], tiles: tuple[TileAxis, TileAxis]) -> tuple[TileAxis, TileAxis]:
    # What fits a tile is run whole, even where the next tile would start in it.
    fits = all(side <= axis.size for side, axis in zip(shape[2:4], tiles, strict=True))
    return (WHOLE, WHOLE) if fits else tiles
