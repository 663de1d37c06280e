"""A video of diffusers' pipeline with our noise, and the config that makes the same here."""

import jax
import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXImageToVideoPipeline
from diffusers.models.autoencoders import vae as posterior
from diffusers.schedulers import scheduling_dpm_cogvideox
from PIL import Image

from sr_jax.configs.sample import get_config
from tests.models.vae_twin import to_ours

# Small frames of another aspect than the image.
FRAMES, HEIGHT, WIDTH, TOKENS, STEPS, SEED = 9, 32, 48, 5, 50, 3
PROMPT = "a woman waves"
SCHEDULER = {"snr_shift_scale": 1.0, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
SCHEDULER |= {"timestep_spacing": "trailing", "clip_sample": False}
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)


def our_config(**changes):
    config = get_config("cogvideox")
    config.dtype = config.codec.dtype = config.text.dtype = "float32"
    config.text.num_tokens = TOKENS
    config.clip.update(num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    config.num_inference_steps = STEPS
    config.update(changes)
    return config


def normal(key, *shape):
    """A draw of ours, in the layout of diffusers' latents: frames before channels."""
    return torch.from_numpy(np.array(jax.random.normal(key, (1, *shape)))).permute(0, 1, 4, 2, 3)


def diffusers_video(
    folder, monkeypatch, key, sampler: str, latent_frames: int, lora=None, steps=STEPS, frames=FRAMES, **options
):
    """Latents and video of the pipeline of diffusers, in our layout, not clipped, made with the noise that we draw.

    Args:
        folder: Of the pipeline.
        monkeypatch: Replaces the pipeline's noise.
        key: Of our noise.
        sampler: "ddim" or "dpm".
        latent_frames: T, with the frames that are cut off.
        lora: Folder for `load_lora_weights`, or None.
        steps: Of the sampler.
        frames: Of the video.
        **options: Of the pipeline's call.
    """
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    if lora is not None:
        pipeline.load_lora_weights(lora)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[sampler](**SCHEDULER)
    size = (HEIGHT // 4, WIDTH // 4, 4)
    start_key, steps_key = jax.random.split(key)
    image_noise = normal(jax.random.fold_in(key, 2), 1, *size).permute(0, 2, 1, 3, 4)
    taken, kept = [], {}
    step, decode = pipeline.scheduler.step, pipeline.decode_latents

    def counted_step(*args, **kwargs):
        taken.append(None)
        return step(*args, **kwargs)

    def keeping_decode(latents):
        kept["latents"], kept["video"] = latents, decode(latents)
        return kept["video"]

    def step_noise(*args, **kwargs):
        return normal(jax.random.fold_in(steps_key, len(taken) - 1), latent_frames, *size)

    monkeypatch.setattr(pipeline.scheduler, "step", counted_step)
    monkeypatch.setattr(pipeline, "decode_latents", keeping_decode)
    monkeypatch.setattr(posterior, "randn_tensor", lambda *_, **__: image_noise)
    monkeypatch.setattr(scheduling_dpm_cogvideox, "randn_tensor", step_noise)
    pipeline(
        image=Image.fromarray(IMAGE),
        prompt=PROMPT,
        height=HEIGHT,
        width=WIDTH,
        num_frames=frames,
        num_inference_steps=steps,
        latents=normal(start_key, latent_frames, *size),
        max_sequence_length=TOKENS,
        output_type="pt",
        **options,
    )
    return kept["latents"][0].permute(0, 2, 3, 1).numpy(), to_ours(kept["video"])[0].numpy()
