"""A video of diffusers' pipeline with our noise, and the config that makes the same here."""

from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np

from sr_jax.configs.sample import get_config
from tests.originals.recording import Original

# Small frames of another aspect than the image.
FRAMES, HEIGHT, WIDTH, TOKENS, STEPS, SEED = 9, 32, 48, 5, 50, 3
PROMPT = "a woman waves"
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)


def our_config(**changes) -> ml_collections.ConfigDict:
    config = get_config("cogvideox")
    config.dtype = config.codec.dtype = config.text.dtype = "float32"
    config.text.num_tokens = TOKENS
    config.clip.update(num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    config.num_inference_steps = STEPS
    # Of one device: tests/generation/test_mesh.py has more.
    config.mesh.context = 1
    # As theirs; the tiny folders, as made by default, say "leading".
    config.update(timestep_spacing="trailing", image_fit="stretch")
    config.update(changes)
    return config


def diffusers_video(
    original: Callable[[str], Original],
    folder: Path,
    sampler: str,
    latent_frames: int,
    *,
    lora: Path | None = None,
    frames: int = FRAMES,
    steps: int = STEPS,
    guidance_scale: float = 6.0,
    use_dynamic_cfg: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """What the pipeline of diffusers makes of `IMAGE` and `PROMPT` with the noise that we draw for `SEED`.

    Args:
        original: The fixture.
        folder: Of the pipeline.
        sampler: "ddim" or "dpm".
        latent_frames: T, with the frames that are cut off.
        lora: Folder for `load_lora_weights`, or None.
        frames: Of the video.
        steps: Of the sampler.
        guidance_scale: Of the pipeline's call.
        use_dynamic_cfg: Of the pipeline's call.

    Returns:
        Latents `[T, h, w, C]` and `tiny_vae.some_values` of the video, not clipped.
    """
    options = {"height": HEIGHT, "width": WIDTH, "num_frames": frames, "max_sequence_length": TOKENS}
    options |= {"num_inference_steps": steps, "guidance_scale": guidance_scale, "use_dynamic_cfg": use_dynamic_cfg}
    return original("pipeline").video(folder, lora, IMAGE, PROMPT, SEED, sampler, latent_frames, options)
