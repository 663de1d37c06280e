"""Image-to-video sampling: from a first frame's latent and a prompt to clean video latents."""

import dataclasses
import functools
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sr_jax.backbones.base import Backbone, Inputs
from sr_jax.diffusion.guidance import check_dynamic_guidance, classifier_free, guidance_scales
from sr_jax.diffusion.process import Process
from sr_jax.diffusion.samplers import sample
from sr_jax.models.functional import Functional, Params


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How to sample.

    Attributes:
        sampler: One of the process's: "ddim" or "dpm" of CogVideoX; empty: the process's own.
        num_inference_steps: Steps of the sampler.
        guidance_scale: Strength of classifier-free guidance; 1 or less is none, dynamic or not.
        dynamic_guidance: "none", "released" or "cosine" (see `diffusion.guidance.guidance_scales`).
    """

    sampler: str
    num_inference_steps: int
    guidance_scale: float
    dynamic_guidance: str

    def __post_init__(self) -> None:
        """Checks the kind of guidance; sampler and steps are the process's to check.

        Raises:
            UserError: For an unknown kind of dynamic guidance.
        """
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
    backbone: Backbone, network: Functional, process: Process, settings: SamplingSettings, *, num_frames: int
) -> Sampler:
    """`sampling_function`, compiled for one device; the arguments and errors are those of it."""
    return jax.jit(sampling_function(backbone, network, process, settings, num_frames=num_frames))


def sampling_function(
    backbone: Backbone, network: Functional, process: Process, settings: SamplingSettings, *, num_frames: int
) -> Sampler:
    """What samples clips, pure and ready to be jitted, on a mesh too (diffusers: `CogVideoXImageToVideoPipeline`).

    Guidance keeps the image on its unconditional side. Latents stay float32 between the steps.

    Where T is no whole number of patches (1.5), frames are added in front, so that the image is the condition of the
    first added one; they are cut off at the end. So do the released pipelines.

    Each clip has its own key for all its noise, so what it becomes does not depend on the batch it is in.

    Args:
        backbone: What reads the image.
        network: Its transformer.
        process: What it was trained to predict.
        settings: How to sample.
        num_frames: T, of the latents.

    Raises:
        UserError: For an unknown sampler or an impossible number of steps.
    """
    added_frames = -num_frames % backbone.patch[0]
    steps = process.steps(settings.sampler, settings.num_inference_steps)
    scales = guidance_scales(
        steps.times, settings.dynamic_guidance, settings.guidance_scale, noise_time=process.noise_time
    )

    def sample_clips(
        params: Params,
        keys: Key[Array, " b"],
        images: Float[Array, "b 1 h w c"],
        texts: Float[Array, "b l d"],
        no_text: Float[Array, "l d"],
    ) -> Float[Array, "b t h w c"]:
        apply = functools.partial(network.apply, params)
        condition = backbone.condition(images, added_frames + num_frames)
        shape = (added_frames + num_frames, *images.shape[2:])

        def denoise(zt: Array, times: Array, conditioning: tuple[dict[str, Array], Array]) -> Array:
            conditions, text_embedding = conditioning
            return backbone.predict(apply, Inputs(zt, times, text_embedding, conditions)).prediction

        if settings.guided:
            unwanted = jnp.broadcast_to(no_text, texts.shape)
            predict = classifier_free(denoise, (condition, texts), (condition, unwanted), scales)
        else:

            def predict(zt: Array, times: Array, index: Array) -> Array:
                return denoise(zt, times, (condition, texts))

        start_keys, steps_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(start_keys)

        def fresh_noise(index: Array) -> Array:
            return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape))(steps_keys)

        return sample(predict, process, steps, noise, fresh_noise)[:, added_frames:]

    return sample_clips


def clip_key(seed: int, clip_id: str) -> Key[Array, ""]:
    """The key of a clip's noise: the same for every run with this seed, which makes runs comparable clip by clip."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(clip_id.encode()))
