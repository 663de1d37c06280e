"""Image and prompt to video, as one call (diffusers: `CogVideoXImageToVideoPipeline`)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from PIL import Image

from sr_jax.conversion.position_table import fit_position_table
from sr_jax.data.video import resize_and_crop, to_unit_range
from sr_jax.errors import UserError
from sr_jax.evaluation.sampling import Sampler, SamplingSettings, clip_key, make_sampler
from sr_jax.models.codec import VideoCodec, latent_frames
from sr_jax.models.cogvideox_config import CogVideoXConfig
from sr_jax.models.functional import Params
from sr_jax.parallel.batches import to_first_device
from sr_jax.teachers.base import TextTeacher
from sr_jax.training.builders import build_schedule, build_transformer

# `fold_in` of this makes the key of the image's latents from the key of a clip, which `split` turns into the others.
_IMAGE_KEY = 2


@dataclasses.dataclass(frozen=True)
class ClipSize:
    """What a clip measures: `num_frames` of `height` x `width` pixels, `fps` of them a second."""

    num_frames: int
    height: int
    width: int
    fps: float


@dataclasses.dataclass(frozen=True)
class ImageToVideo:
    """Everything between an image with a prompt and a video.

    Attributes:
        sampler: The compiled sampler.
        params: The transformer's weights, on the device.
        codec: Encodes images and decodes latents.
        text: Embeds prompts.
        clip: Size of the videos.
        image_fit: How an image of another size is made to fit; see `fit_image`.
    """

    sampler: Sampler
    params: Params
    codec: VideoCodec
    text: TextTeacher
    clip: ClipSize
    image_fit: str

    def __call__(
        self, image: UInt8[np.ndarray, "y x 3"], prompt: str, *, seed: int = 0
    ) -> Float[np.ndarray, "f h w 3"]:
        """Generates a video; the device holds no more than a batch of its frames at a time.

        Args:
            image: RGB pixels of the first frame, of any size.
            prompt: What happens.
            seed: Of all noise, together with the prompt.

        Returns:
            The video, about in [-1, 1] (`sr_jax.data.video` writes it).
        """
        return self.codec.decode_to_host(self.latents(image, prompt, clip_key(seed, prompt))[None])[0]

    def latents(self, image: UInt8[np.ndarray, "y x 3"], prompt: str, key: Key[Array, ""]) -> Float[Array, "t h w c"]:
        """The scaled latents of a video, all noise from `key`."""
        pixels = to_unit_range(fit_image(image, self.clip.height, self.clip.width, self.image_fit))
        image_latents = self.codec.encode_image(jnp.asarray(pixels[None]), jax.random.fold_in(key, _IMAGE_KEY))
        return self.sample(key[None], image_latents, jnp.asarray(self.text([prompt])))[0]

    def sample(
        self, keys: Key[Array, " b"], image_latents: Float[Array, "b 1 h w c"], texts: Float[Array, "b l d"]
    ) -> Float[Array, "b t h w c"]:
        """Samples the latents of several clips, each from its own key, image latents and embedded prompt."""
        return self.sampler(self.params, keys, image_latents, texts, self._no_text)

    @functools.cached_property
    def _no_text(self) -> Float[Array, "l d"]:
        return jnp.asarray(self.text([""])[0])


def make_pipeline(
    config: ml_collections.ConfigDict,
    params: Params,
    trained: dict[str, Any],
    codec: VideoCodec,
    text: TextTeacher,
    clip: ClipSize,
) -> ImageToVideo:
    """Puts a pipeline together.

    Args:
        config: Of `configs/sample.py`.
        params: The transformer's weights, arrays of any kind.
        trained: The config of the checkpoint: `model`, `schedule` and `dtype` count.
        codec: Encodes images and decodes latents.
        text: Embeds prompts.
        clip: Size of the videos.

    Raises:
        UserError: When the transformer is none for image to video, does not fit the codec or the clips' size, or
            `config` names an option that does not exist.
    """
    if config.image_fit not in _FITS:
        raise UserError(f"config.image_fit is {config.image_fit!r}: choose one of {', '.join(_FITS)}")
    settings = sampling_settings(config)
    model = CogVideoXConfig(**trained["model"])
    if (model.in_channels, model.out_channels) != (2 * codec.latent_channels, codec.latent_channels):
        raise UserError(
            f"the transformer turns {model.in_channels} channels into {model.out_channels}: from images to videos with "
            f"this codec it takes one from {2 * codec.latent_channels} to {codec.latent_channels}"
        )
    frames = latent_frames(clip.num_frames, codec.temporal_compression_ratio)
    height, width = (_whole(side, codec.spatial_compression_ratio) for side in (clip.height, clip.width))
    temporal_patch = model.patch[0]
    size = (frames + -frames % temporal_patch, height, width)
    params, model = fit_position_table(params, model, size, config.position_table)
    sampler = make_sampler(
        build_transformer(dataclasses.asdict(model), dtype=config.dtype or trained["dtype"]),
        build_schedule(trained["schedule"]),
        settings,
        latent_frames=frames,
        temporal_patch=temporal_patch,
    )
    return ImageToVideo(sampler, to_first_device(params), codec, text, clip, config.image_fit)


def sampling_settings(config: ml_collections.ConfigDict) -> SamplingSettings:
    """The part of a config of `configs/sample.py` that says how to sample.

    Raises:
        UserError: For an option that does not exist.
    """
    return SamplingSettings(
        config.sampler, config.num_inference_steps, float(config.guidance_scale), config.dynamic_guidance
    )


def fit_image(
    image: UInt8[np.ndarray, "y x 3"], height: int, width: int, how: str
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Makes an image fit: "crop" keeps its aspect and cuts off what is over, as `prepare` does with videos.

    "stretch" changes its aspect, as diffusers' pipelines do (`VaeImageProcessor`, Lanczos).
    """
    return _FITS[how](image, height, width)


def released_clip_size(model: CogVideoXConfig, spatial_compression_ratio: int) -> ClipSize:
    """The size of the videos that a released transformer was trained on last."""
    return ClipSize(
        model.sample_frames,
        model.sample_height * spatial_compression_ratio,
        model.sample_width * spatial_compression_ratio,
        fps=8.0 if model.patch_size_t is None else 16.0,
    )


def _crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize_and_crop(image[None], height, width)[0]


def _stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


_FITS = {"crop": _crop, "stretch": _stretch}


def _whole(side: int, ratio: int) -> int:
    if side % ratio:
        raise UserError(f"a side of {side} pixels does not fit the codec: use multiples of {ratio}")
    return side // ratio
