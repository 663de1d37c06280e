"""Image-to-video sampling: from a first frame's latent and a prompt to clean video latents."""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from sr_jax.backbones.base import Backbone, Inputs
from sr_jax.diffusion.guidance import check_dynamic_guidance, classifier_free, guidance_scales
from sr_jax.diffusion.process import Process, Steps
from sr_jax.diffusion.samplers import sample
from sr_jax.models.functional import Functional, Params
from sr_jax.parallel import mesh as meshes


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
    [Params, Key[Array, " b"], Float[Array, "b 1 h w c"], Float[Array, "b l d"], Float[Array, "*rows l d"]],
    Float[Array, "b t h w c"],
]
"""From parameters, one key a clip, clean image latents, embeddings of the prompts and of the negative ones (or of one
for all) to clean latents."""


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """A transformer with the process and the settings that it is sampled with.

    Attributes:
        backbone: What reads the image.
        network: Its transformer.
        process: What it was trained to predict.
        settings: How to sample.
    """

    backbone: Backbone
    network: Functional
    process: Process
    settings: SamplingSettings

    @functools.cached_property
    def steps(self) -> Steps:
        """Of the sampler.

        Raises:
            UserError: For an unknown sampler or an impossible number of steps.
        """
        return self.process.steps(self.settings.sampler, self.settings.num_inference_steps)

    def predictor(
        self,
        params: Params,
        images: Float[Array, "b 1 h w c"],
        texts: Float[Array, "b l d"],
        unwanted: Float[Array, "*rows l d"],
        num_frames: int,
    ) -> Callable[[Array, Array, Array], Array]:
        """The guided prediction of latents of `num_frames`: from noisy ones, their times and the number of the step.

        Guidance keeps the image on its unconditional side (diffusers: `CogVideoXImageToVideoPipeline`).
        """
        settings, backbone = self.settings, self.backbone
        apply = functools.partial(self.network.apply, params)
        condition = backbone.condition(images, num_frames)

        def denoise(zt: Array, times: Array, conditioning: tuple[dict[str, Array], Array]) -> Array:
            conditions, text_embedding = conditioning
            return backbone.predict(apply, Inputs(zt, times, text_embedding, conditions)).prediction

        if not settings.guided:
            return lambda zt, times, index: denoise(zt, times, (condition, texts))
        scales = guidance_scales(
            self.steps.times, settings.dynamic_guidance, settings.guidance_scale, noise_time=self.process.noise_time
        )
        unwanted = jnp.broadcast_to(unwanted, texts.shape)
        return classifier_free(denoise, (condition, texts), (condition, unwanted), scales)


def jit_on(mesh: Mesh, params: Any, sampler: Sampler) -> Sampler:
    """A sampler, compiled for a mesh; clips are split over its batch axes.

    Args:
        mesh: The devices.
        params: Shardings of the parameters.
        sampler: Anything with the arguments of one, each of whose other arrays has a row for each clip.
    """
    rows = meshes.batch_sharding(mesh)
    return meshes.jit_on_mesh(mesh, sampler, in_shardings=(params, rows, rows, rows, rows), out_shardings=rows)


def sampling_function(denoiser: Denoiser, *, num_frames: int) -> Sampler:
    """What samples clips, pure and ready to be jitted, on a mesh too. Latents stay float32 between the steps.

    Where T is no whole number of patches (1.5), frames are added in front, so that the image is the condition of the
    first added one; they are cut off at the end. So do the released pipelines.

    Each clip has its own key for all its noise, so what it becomes does not depend on the batch it is in.

    Args:
        denoiser: What is sampled.
        num_frames: T, of the latents.

    Raises:
        UserError: For an unknown sampler or an impossible number of steps.
    """
    added_frames = -num_frames % denoiser.backbone.patch[0]
    steps = denoiser.steps

    def sample_clips(
        params: Params,
        keys: Key[Array, " b"],
        images: Float[Array, "b 1 h w c"],
        texts: Float[Array, "b l d"],
        unwanted: Float[Array, "*rows l d"],
    ) -> Float[Array, "b t h w c"]:
        predict = denoiser.predictor(params, images, texts, unwanted, added_frames + num_frames)
        noise = ClipNoise(keys, (added_frames + num_frames, *images.shape[2:]))
        return sample(predict, denoiser.process, steps, noise.start(), noise.fresh)[:, added_frames:]

    return sample_clips


class ClipNoise:
    """The unit noise of clips, all of it from their keys.

    Args:
        keys: One for each clip.
        shape: Of the latents of a clip.
    """

    def __init__(self, keys: Key[Array, " b"], shape: tuple[int, ...]):
        self._start_keys, self._steps_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        self._shape = shape

    def start(self) -> Float[Array, "b t h w c"]:
        """What sampling starts from."""
        return jax.vmap(lambda key: jax.random.normal(key, self._shape))(self._start_keys)

    def fresh(self, index: Int[Array, ""]) -> Float[Array, "b t h w c"]:
        """What a step adds, by its number."""
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), self._shape))(self._steps_keys)


def clip_key(seed: int, clip_id: str) -> Key[Array, ""]:
    """The key of a clip's noise: the same for every run with this seed, which makes runs comparable clip by clip."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(clip_id.encode()))
