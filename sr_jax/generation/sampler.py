"""Image-to-video sampling: from a first frame's latent and a prompt to clean video latents."""

import dataclasses
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sr_jax.diffusion.guidance import (
    NUM_TRAIN_TIMESTEPS,
    check_dynamic_guidance,
    classifier_free,
    guidance_scale_at,
)
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.diffusion.samplers import check_sampler, sample, trailing_timesteps
from sr_jax.models.functional import Functional, Params


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How to sample.

    Attributes:
        sampler: "ddim" or "dpm".
        num_inference_steps: Steps of the sampler.
        guidance_scale: Strength of classifier-free guidance; 1 or less is none, dynamic or not.
        dynamic_guidance: "none", "released" or "cosine" (see `diffusion.guidance.guidance_scale_at`).
    """

    sampler: str
    num_inference_steps: int
    guidance_scale: float
    dynamic_guidance: str

    def __post_init__(self) -> None:
        """Checks the names and the number of steps.

        Raises:
            UserError: For an unknown sampler or kind of dynamic guidance, or an impossible number of steps.
        """
        check_sampler(self.sampler)
        trailing_timesteps(NUM_TRAIN_TIMESTEPS, self.num_inference_steps)
        check_dynamic_guidance(self.dynamic_guidance)

    @property
    def guided(self) -> bool:
        """Whether the unconditional prediction is needed at all; without it a step costs half."""
        return self.guidance_scale > 1.0


Sampler = Callable[
    [Params, Key[Array, " b"], Float[Array, "b 1 h w c"], Float[Array, "b l d"], Float[Array, "l d"]],
    Float[Array, "b t h w c"],
]
"""From parameters, one key a clip, clean image latents, prompt embeddings and the embedding of the empty prompt to
clean latents."""


def make_sampler(
    transformer: Functional,
    schedule: VPrediction,
    settings: SamplingSettings,
    *,
    latent_frames: int,
    temporal_patch: int = 1,
) -> Sampler:
    """Builds the compiled sampler of one batch size (CogVideoX I2V: diffusers `CogVideoXImageToVideoPipeline`).

    The condition is the image latent on frame 0 and zeros on the other frames, concatenated on the channels after the
    noisy latents. Guidance keeps the image on its unconditional side. Latents stay float32 between the steps.

    Where T is no multiple of the temporal patch (1.5), frames are added in front, so that the image is the condition of
    the first added one; they are cut off at the end. So do the released pipelines.

    Each clip has its own key for all its noise, so what it becomes does not depend on the batch it is in.

    Args:
        transformer: Takes latents and condition `[B, T, h, w, 2C]`, text `[B, L, D]`, timesteps `[B]`; gives velocity.
        schedule: The noise schedule it was trained with.
        settings: How to sample.
        latent_frames: T.
        temporal_patch: Latent frames in a patch of the transformer.
    """
    added_frames = -latent_frames % temporal_patch

    def sample_clip(
        params: Params,
        key: Key[Array, ""],
        image: Float[Array, "1 h w c"],
        text: Float[Array, "l d"],
        no_text: Float[Array, "l d"],
    ) -> Float[Array, "t h w c"]:
        condition = image_condition(image[None], added_frames + latent_frames)

        def denoise(zt: Array, timesteps: Array, conditioning: tuple[Array, Array]) -> Array:
            image_latents, text_embedding = conditioning
            inputs = jnp.concatenate([zt, image_latents], axis=-1)
            return transformer.apply(params, inputs, text_embedding, timesteps)

        def scale_at(timesteps: Array) -> Array:
            scale, kind = settings.guidance_scale, settings.dynamic_guidance
            return guidance_scale_at(timesteps, kind, scale, settings.num_inference_steps)

        wanted = (condition, text[None])
        if settings.guided:
            velocity = classifier_free(denoise, wanted, (condition, no_text[None]), scale_at)
        else:

            def velocity(zt: Array, timesteps: Array) -> Array:
                return denoise(zt, timesteps, wanted)

        start_key, steps_key = jax.random.split(key)
        noise = jax.random.normal(start_key, condition.shape)
        steps = {"num_inference_steps": settings.num_inference_steps, "sampler": settings.sampler}
        return sample(velocity, schedule, noise, steps_key, **steps)[0, added_frames:]

    return jax.jit(jax.vmap(sample_clip, in_axes=(None, 0, 0, 0, None)))


def image_condition(image: Float[Array, "b 1 h w c"], latent_frames: int) -> Float[Array, "b {latent_frames} h w c"]:
    """The image latent on frame 0, zeros on the others."""
    return jnp.pad(image, ((0, 0), (0, latent_frames - 1), (0, 0), (0, 0), (0, 0)))


def clip_key(seed: int, clip_id: str) -> Key[Array, ""]:
    """The key of a clip's noise: the same for every run with this seed, which makes runs comparable clip by clip."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(clip_id.encode()))
