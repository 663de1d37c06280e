"""Image and prompt to video, as one call (diffusers: `CogVideoXImageToVideoPipeline`)."""

import dataclasses
import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, Key
from PIL import Image

from sr_jax.backbones.base import POSITION_TABLES, Backbone, ClipSize, padded_size
from sr_jax.backbones.codec import VideoCodec
from sr_jax.checkpoints.networks import backbone_of, transformer_network
from sr_jax.errors import UserError
from sr_jax.generation.finite import require_finite_latents, require_finite_video
from sr_jax.generation.images import FITS, fit_image
from sr_jax.generation.sampler import Sampler, SamplingSettings, clip_key, make_sampler
from sr_jax.media.images import rgb_pixels
from sr_jax.media.video import to_unit_range
from sr_jax.models.functional import Params
from sr_jax.models.precision import storage_type
from sr_jax.parallel.batches import to_first_device
from sr_jax.teachers.base import TextTeacher

# `fold_in` of this makes the key of the image's latents from the key of a clip, which `split` turns into the others.
_IMAGE_KEY = 2
_THIS = "this clip"


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

    def __call__(self, image: np.ndarray | Image.Image, prompt: str, *, seed: int = 0) -> Float[np.ndarray, "f h w 3"]:
        """Generates a video; the device holds no more than a batch of its frames at a time.

        Args:
            image: The first frame, of any size: uint8 RGB pixels `[y, x, 3]`, or a PIL image.
            prompt: What happens.
            seed: Of all noise, together with the prompt.

        Returns:
            The video, about in [-1, 1] (`sr_jax.media.video` writes it).

        Raises:
            UserError: When the image or the prompt is something else; when what is made holds NaN.
        """
        _require_one_prompt(prompt)
        video = self.codec.decode_to_host(self.latents(image, prompt, clip_key(seed, prompt))[None])[0]
        require_finite_video(video, _THIS)
        return video

    def latents(self, image: np.ndarray | Image.Image, prompt: str, key: Key[Array, ""]) -> Float[Array, "t h w c"]:
        """The scaled latents of a video, all noise from `key`; image, prompt and errors as for the video."""
        _require_one_prompt(prompt)
        if lost := self.text.cut(prompt):
            logging.warning("the prompt has more tokens than the model takes: %r at its end is not read", lost)
        pixels = to_unit_range(fit_image(rgb_pixels(image), self.clip.height, self.clip.width, self.image_fit))
        image_latents = self.codec.encode_image(jnp.asarray(pixels[None]), jax.random.fold_in(key, _IMAGE_KEY))
        latents = self.sample(key[None], image_latents, jnp.asarray(self.text([prompt])))[0]
        require_finite_latents(latents, _THIS)
        return latents

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
        trained: The config of the checkpoint: `backbone`, `model`, `schedule` and `dtype` count.
        codec: Encodes images and decodes latents.
        text: Embeds prompts.
        clip: Size of the videos.

    Raises:
        UserError: When the transformer is none for image to video, does not fit the codec or the clips' size, the codec
            does not fit that size, or `config` names an option that does not exist.
    """
    settings, process = sampling_settings(config), backbone_of(trained).process(trained["schedule"])
    params, backbone = fit_transformer(params, backbone_of(trained), codec, clip, config.position_table)
    network = transformer_network(backbone, dtype=config.dtype or trained["dtype"])
    num_frames = codec.latent_frames(clip.num_frames)
    sampler = make_sampler(backbone, network, process, settings, num_frames=num_frames)
    return ImageToVideo(sampler, to_first_device(params), codec, text, clip, config.image_fit)


def fit_transformer(
    params: Params, backbone: Backbone, codec: VideoCodec, clip: ClipSize, position_table: str
) -> tuple[Params, Backbone]:
    """Makes a transformer fit clips of a size, with `position_table` as in `Backbone.fitted`.

    Raises:
        UserError: When the transformer is none for image to video, or does not fit the codec or the clips' size.
    """
    if not backbone.takes_image or backbone.latent_channels != codec.latent_channels:
        raise UserError(
            f"the transformer makes latents of {backbone.latent_channels} channels from "
            f"{'an image' if backbone.takes_image else 'no image'} and text: from images to videos with this codec it "
            f"takes one that makes {codec.latent_channels} from an image"
        )
    return backbone.fitted(params, latent_size(clip, codec, backbone), position_table)


def sampling_settings(config: ml_collections.ConfigDict) -> SamplingSettings:
    """The part of a config of `configs/sample.py` that says how to sample; what else `make_pipeline` reads is checked.

    Raises:
        UserError: For an option that does not exist.
    """
    for name, choices in (("image_fit", FITS), ("position_table", POSITION_TABLES)):
        if config[name] not in choices:
            raise UserError(f"config.{name} is {config[name]!r}: choose one of {', '.join(choices)}")
    if config.dtype:
        storage_type("dtype", config.dtype)
    return SamplingSettings(
        config.sampler, config.num_inference_steps, float(config.guidance_scale), config.dynamic_guidance
    )


def latent_size(clip: ClipSize, codec: VideoCodec, backbone: Backbone) -> tuple[int, int, int]:
    """T, H and W of the latents that the transformer makes, whole patches: frames that are cut off again count.

    Raises:
        UserError: When codec or transformer do not fit the clip's size, naming one that they do.
    """
    ratio, frames = codec.spatial_compression_ratio, codec.latent_frames(clip.num_frames)
    units, sides = [ratio * n for n in backbone.patch[1:]], (clip.height, clip.width)
    if any(side % unit for side, unit in zip(sides, units)):
        height, width = (max(round(side / unit), 1) * unit for side, unit in zip(sides, units))
        raise UserError(
            f"clips of {clip.height}x{clip.width} pixels do not fit codec and transformer: use {height}x{width}, or "
            f"other multiples of {' and '.join(map(str, dict.fromkeys(units)))}"
        )
    return padded_size((frames, clip.height // ratio, clip.width // ratio), backbone.patch)


def _require_one_prompt(prompt: str) -> None:
    if not isinstance(prompt, str):
        raise UserError(f"the prompt is a {type(prompt).__name__}: give one string, and call once for each video")
