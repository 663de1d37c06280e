r"""Clips longer than a transformer was trained on: windows of that length, which share their noisy latents.

At every step each window gives its own prediction of the clean latents, from positions that count within the window;
where windows overlap, the predictions are faded over, and the step is taken with the whole (MultiDiffusion, Bar-Tal et
al. 2023, equation 5, over time; the fade is that of Gen-L-Video, Wang et al. 2023). A window but the first has as its
image what the one before predicts for its first frame at this step. That frame of its own prediction does not count: it
would be of a clip's first latent frame, which covers a single frame of the video.

Windows go over the devices one after the other, and the latents of the clip lie in host memory: the devices hold one
window, whatever the length.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from sr_jax.errors import UserError
from sr_jax.generation.sampler import ClipNoise, Denoiser, Sampler, jit_on
from sr_jax.models.functional import Params


def make_window_sampler(
    denoiser: Denoiser, *, num_frames: int, window: int, overlap: float, mesh: Mesh, params: Any
) -> Sampler:
    """A sampler of long clips; of the length of one window it gives what `sampling_function` does.

    Args:
        denoiser: What is sampled.
        num_frames: T, of the latents of the whole clip.
        window: Latent frames of a window.
        overlap: Share of a window that the next one has too, at least.
        mesh: The devices.
        params: Shardings of the parameters.

    Raises:
        UserError: For an unknown sampler or an impossible number of steps, or where windows share no frame beside the
            image's.
    """
    # In front, as `sampling_function` adds them.
    added = -window % denoiser.backbone.patch[0]
    starts = window_starts(num_frames + added, window + added, overlap)
    steps, process = denoiser.steps, denoiser.process

    def predict_clean(
        params: Params,
        rows: dict[str, Array],
        images: Float[Array, "b 1 h w c"],
        texts: Float[Array, "b l d"],
        unwanted: Float[Array, "b l d"],
    ) -> Float[Array, "b t h w c"]:
        zt, index = rows["noisy"], rows["step"]
        times = jnp.asarray(steps.times)[index]
        predict = denoiser.predictor(params, images, texts, unwanted, window + added)
        return process.predict_clean(zt, predict(zt, times, index[0]), times)

    predict = jit_on(mesh, params, predict_clean)

    def sample_clips(
        params: Params,
        keys: Key[Array, " b"],
        images: Float[np.ndarray, "b 1 h w c"],
        texts: Float[np.ndarray, "b l d"],
        unwanted: Float[np.ndarray, "b l d"],
    ) -> Float[np.ndarray, "b t h w c"]:
        noise = ClipNoise(keys, (num_frames + added, *images.shape[2:]))
        zt = np.asarray(noise.start())
        before = np.zeros_like(zt)
        for index in range(len(steps.times)):
            clean, image = np.zeros_like(zt), images
            for start, end in zip(starts, _ends_before(starts, window + added)):
                rows = {"noisy": zt[:, start : start + window + added], "step": np.full(len(zt), index, np.int32)}
                image = images if start == 0 else clean[:, start : start + 1]
                fade_in(clean, np.asarray(predict(params, rows, image, texts, unwanted)), start, end)
            factors = (steps.keep, steps.clean, steps.previous, steps.noise)
            keep, new, old, fresh = (np.float32(factor[index]) for factor in factors)
            zt, before = keep * zt + new * clean + old * before, clean
            if fresh:
                zt += fresh * np.asarray(noise.fresh(jnp.int32(index)))
        return zt[:, added:]

    return sample_clips


def window_starts(num_frames: int, window: int, overlap: float) -> list[int]:
    """The first frames of windows that cover a clip, as evenly spaced as whole frames are.

    Args:
        num_frames: Of the clip, at least `window`.
        window: Of a window.
        overlap: Share of a window that the next one has too, at least.

    Raises:
        UserError: Where windows would share no frame beside the one that is the image's, or not one step of a frame
            would be left.
    """
    shared = max(round(overlap * window), 2)
    if shared >= window:
        raise UserError(
            f"windows of {window} latent frames cannot have {shared} of them in common: use a smaller "
            "config.long.overlap, windows of more frames (config.clip.num_frames), or config.long.way=continuation"
        )
    count = 1 + -(-max(num_frames - window, 0) // (window - shared))
    return [round(number * (num_frames - window) / max(count - 1, 1)) for number in range(count)]


def fade_in(clip: Float[np.ndarray, "b t h w c"], window: Float[np.ndarray, "b n h w c"], start: int, end: int) -> None:
    """Writes a window into a clip of which earlier windows cover the frames before `end`.

    In the frames that both cover the window counts 0, 1/k, 2/k, ... of k frames, the clip the rest.
    """
    shared = max(end - start, 0)
    weight = (np.arange(shared, dtype=np.float32) / max(shared, 1)).reshape(-1, 1, 1, 1)
    clip[:, start:end] += weight * (window[:, :shared] - clip[:, start:end])
    clip[:, start + shared : start + window.shape[1]] = window[:, shared:]


def _ends_before(starts: Sequence[int], window: int) -> list[int]:
    """Where the frames end that the windows before each one cover."""
    return [0, *(start + window for start, _ in itertools.pairwise(starts))]
