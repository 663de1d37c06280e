"""The image-to-video pipeline of diffusers, with the noise that ours draws. Videos and latents are `[T, H, W, C]`."""

import math
import zlib
from pathlib import Path
from unittest.mock import patch

import jax
import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXImageToVideoPipeline
from diffusers.models.autoencoders import vae as posterior
from diffusers.schedulers import scheduling_dpm_cogvideox
from PIL import Image

from tests.models.tiny_vae import some_values
from tests.originals.schedulers import OPTIONS


def video(
    folder: Path,
    lora: Path | None,
    image: np.ndarray,
    prompt: str,
    seed: int,
    sampler: str,
    latent_frames: int,
    options: dict,
) -> tuple[np.ndarray, np.ndarray]:
    """Latents of a video, and `some_values` of its frames, which are not clipped.

    Args:
        folder: Of the pipeline.
        lora: Folder of a LoRA to load, or None.
        image: RGB pixels `[h, w, 3]`.
        prompt: What to show.
        seed: Of the noise, with the prompt as the name of the clip.
        sampler: "ddim" or "dpm".
        latent_frames: With the frames that are cut off.
        options: Of the pipeline's call: height and width, numbers of frames, steps and tokens, guidance.
    """
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    if lora is not None:
        pipeline.load_lora_weights(lora)
    pipeline.set_progress_bar_config(disable=True)
    scheduler = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[sampler]
    pipeline.scheduler = scheduler(**OPTIONS, snr_shift_scale=1.0)

    key, size = _clip_key(seed, prompt), (options["height"] // 4, options["width"] // 4, 4)
    start_key, steps_key = jax.random.split(key)
    image_noise = _normal(jax.random.fold_in(key, 2), 1, *size).transpose(1, 2)
    decode, kept, taken = pipeline.decode_latents, {}, []

    def keeping_decode(latents: torch.Tensor) -> torch.Tensor:
        kept["latents"], kept["video"] = latents, decode(latents)
        return kept["video"]

    def step_noise(*_, **__) -> torch.Tensor:
        # In the whole of a step it is the same, however often it is drawn.
        return _normal(jax.random.fold_in(steps_key, len(taken)), latent_frames, *size)

    def after_step(_, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        taken.append(step)
        return tensors

    with (
        patch.object(pipeline, "decode_latents", keeping_decode),
        patch.object(posterior, "randn_tensor", lambda *_, **__: image_noise),
        patch.object(scheduling_dpm_cogvideox, "randn_tensor", step_noise),
    ):
        pipeline(
            image=Image.fromarray(image),
            prompt=prompt,
            latents=_normal(start_key, latent_frames, *size),
            output_type="pt",
            callback_on_step_end=after_step,
            **options,
        )
    frames = kept["video"][0].permute(1, 2, 3, 0).numpy()
    return kept["latents"][0].permute(0, 2, 3, 1).numpy(), some_values(frames)


def image_condition(folder: Path, image: np.ndarray, frames: int) -> np.ndarray:
    """The latents of an image, without noise, as the condition of a video.

    Args:
        folder: Of the pipeline.
        image: Pixels `[1, H, W, 3]` in [-1, 1].
        frames: Of the video; of its latents, the pipeline makes as many more as its temporal patch needs.
    """
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    frames += 4 * (-(1 + (frames - 1) // 4) % (pipeline.transformer.config.patch_size_t or 1))
    options = {"generator": torch.Generator(), "latents": torch.zeros(())}
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2)
    with patch.object(posterior, "randn_tensor", lambda shape, **_: torch.zeros(shape)):
        _, condition = pipeline.prepare_latents(
            pixels, 1, 4, frames, *image.shape[1:3], torch.float32, "cpu", **options
        )
    return condition[0].detach().permute(0, 2, 3, 1).numpy()


def loop(
    weights: dict, seed: int, clip_id: str, image: np.ndarray, text: np.ndarray, no_text: np.ndarray, options: dict
) -> np.ndarray:
    """Latents of the pipeline's loop with its DDIM scheduler and a network of two layers in place of the transformer.

    Args:
        weights: "mix" `[2 C, C]` of latents and condition, "read" `[D, C]` of the mean of the text.
        seed: Of the noise.
        clip_id: Of the noise too.
        image: Latents of the first frame `[1, h, w, C]`.
        text: The embedded prompt `[L, D]`.
        no_text: The embedded empty prompt.
        options: Numbers of frames and steps, guidance_scale and use_dynamic_cfg.
    """
    mix, read = (torch.from_numpy(weights[name]) for name in ("mix", "read"))
    image, text, no_text = map(torch.from_numpy, (image, text, no_text))
    frames, steps, guidance = options["num_frames"], options["num_inference_steps"], options["guidance_scale"]

    def network(inputs: torch.Tensor, text: torch.Tensor, t: int) -> torch.Tensor:
        return torch.tanh(inputs @ mix + text.mean(dim=0) @ read) * (1 + t / 1000)

    noise = jax.random.normal(jax.random.split(_clip_key(seed, clip_id))[0], (1, frames, *image.shape[1:]))
    latents = torch.from_numpy(np.array(noise))[0]
    condition = torch.cat([image, torch.zeros(frames - 1, *image.shape[1:])])
    scheduler = CogVideoXDDIMScheduler(**OPTIONS, snr_shift_scale=1.0)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps.tolist():
        inputs, scale = torch.cat([latents, condition], dim=-1), guidance
        velocity = network(inputs, text, t)
        if guidance > 1:
            if options["use_dynamic_cfg"]:
                scale = 1 + guidance * ((1 - math.cos(math.pi * ((steps - t) / steps) ** 5.0)) / 2)
            without = network(inputs, no_text, t)
            velocity = without + scale * (velocity - without)
        latents = scheduler.step(velocity, t, latents).prev_sample
    return latents.numpy()


def _clip_key(seed: int, clip_id: str) -> jax.Array:
    """The key of ours of all the noise of a clip."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(clip_id.encode()))


def _normal(key: jax.Array, *shape: int) -> torch.Tensor:
    """A draw of ours, in the layout of diffusers' latents: frames before channels."""
    return torch.from_numpy(np.array(jax.random.normal(key, (1, *shape)))).permute(0, 1, 4, 2, 3)
