"""Clips longer than the transformer's: windows that share their latents, against a plain loop in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.generation.sampler import Denoiser, SamplingSettings, sampling_function
from sr_jax.generation.windows import fade_in, make_window_sampler, window_starts
from sr_jax.models.functional import Functional
from sr_jax.parallel.mesh import make_mesh
from tests.generation.test_sampler import BACKBONE, C, H, T, W, _Network, setup

__all__ = ("setup",)


def _window_sampler(network, settings, num_frames, window=T, overlap=0.5):
    mesh = make_mesh({}, jax.devices()[:1])
    everywhere = jax.sharding.NamedSharding(mesh, PartitionSpec())
    denoiser = Denoiser(BACKBONE, network, VPrediction(), settings)
    return make_window_sampler(
        denoiser, num_frames=num_frames, window=window, overlap=overlap, mesh=mesh, params=everywhere
    )


@pytest.mark.parametrize(("sampler", "guidance"), [("ddim", 1.0), ("dpm", 2.0)])
def test_one_window_is_a_clip_of_the_models_length(setup, sampler, guidance):
    network, params, keys, images, texts, no_text = setup
    settings, unwanted = SamplingSettings(sampler, 5, guidance, "none"), np.stack([no_text, 2 * no_text])
    whole = jax.jit(sampling_function(Denoiser(BACKBONE, network, VPrediction(), settings), num_frames=T))
    expected = whole(params, keys, images, texts, unwanted)
    got = _window_sampler(network, settings, T)(params, keys, images, texts, unwanted)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("num_frames", "window", "starts"), [(4, 3, [0, 1]), (7, 4, [0, 2, 3]), (10, 4, [0, 2, 4, 6]), (10, 6, [0, 2, 4])]
)
def test_windows_share_their_latents_at_every_step(setup, num_frames, window, starts):
    """What each frame is made of, written out frame by frame; of the last clip three windows cover some frames."""
    network, params, keys, images, texts, _ = setup
    overlap = 0.6 if window == 6 else 0.5
    assert window_starts(num_frames, window, overlap) == starts
    process, settings = VPrediction(), SamplingSettings("ddim", 4, 1.0, "none")
    got = _window_sampler(network, settings, num_frames, window, overlap)(params, keys, images, texts, texts)

    steps = process.steps("ddim", 4)
    start_keys = jax.vmap(jax.random.split)(keys)[:, 0]
    zt = np.stack([jax.random.normal(key, (num_frames, H, W, C)) for key in start_keys])
    for time, keep, new in zip(steps.times, steps.keep, steps.clean):
        clean = np.full_like(zt, np.nan)
        for number, start in enumerate(starts):
            image = images if number == 0 else clean[:, start : start + 1]
            condition = np.concatenate([image, np.zeros((2, window - 1, H, W, C), np.float32)], axis=1)
            part = zt[:, start : start + window]
            times = jnp.full((2,), time)
            velocity = network.apply(params, np.concatenate([part, condition], axis=-1), texts, times)[0]
            predicted = np.asarray(process.predict_clean(jnp.asarray(part), velocity, times))
            covered = 0 if number == 0 else starts[number - 1] + window - start
            for frame in range(window):
                share = frame / covered if frame < covered else 1.0
                before = np.nan_to_num(clean[:, start + frame])
                clean[:, start + frame] = share * predicted[:, frame] + (1 - share) * before
        zt = keep * zt + new * clean
    assert got.shape == (2, num_frames, H, W, C)
    np.testing.assert_allclose(got, zt, rtol=1e-4, atol=1e-4)


def test_the_length_of_a_clip_changes_nothing_of_what_the_device_holds(setup):
    """One program for all windows of clips of any length."""
    _, params, keys, images, texts, _ = setup
    seen = []

    class Watched(_Network):
        def __call__(self, hidden, text, timesteps, taps=()):
            seen.append(hidden.shape)
            return super().__call__(hidden, text, timesteps, taps)

    settings = SamplingSettings("dpm", 2, 1.0, "none")
    for num_frames in (7, 25):
        sampler = _window_sampler(Functional(lambda rngs: Watched(rngs)), settings, num_frames)
        seen.clear()
        assert sampler(params, keys, images, texts, texts).shape[1] == num_frames
        assert seen == [(2, T, H, W, 2 * C)]


@pytest.mark.parametrize(
    ("num_frames", "window", "overlap"), [(13, 13, 0.5), (14, 13, 0.5), (37, 13, 0.25), (40, 4, 0.5)]
)
def test_windows_cover_a_clip_and_each_other(num_frames, window, overlap):
    starts = window_starts(num_frames, window, overlap)
    assert (starts[0], starts[-1]) == (0, num_frames - window)
    shared = [before + window - after for before, after in itertools.pairwise(starts)]
    assert all(count >= max(round(overlap * window), 2) for count in shared)
    # One window less would share less.
    largest_step = window - max(round(overlap * window), 2)
    assert len(starts) == 1 or (num_frames - window) / largest_step > len(starts) - 2


def test_windows_that_are_too_short_are_refused():
    with pytest.raises(UserError, match="windows of 2 latent frames cannot have 2 of them in common"):
        window_starts(9, 2, 0.5)


def test_negative_prompts_are_each_clips_own(setup):
    network, params, keys, images, texts, no_text = setup
    settings = SamplingSettings("ddim", 3, 4.0, "none")
    sampler = jax.jit(sampling_function(Denoiser(BACKBONE, network, VPrediction(), settings), num_frames=T))
    both = sampler(params, keys, images, texts, np.stack([no_text, -no_text]))
    for row, unwanted in enumerate((no_text, -no_text)):
        one = slice(row, row + 1)
        alone = sampler(params, keys[one], images[one], texts[one], unwanted)
        np.testing.assert_allclose(both[one], alone, rtol=1e-5, atol=1e-5)
    assert np.abs(both - sampler(params, keys, images, texts, no_text)).max() > 0.1


@pytest.mark.parametrize("shared", [0, 1, 2, 4])
def test_neighbours_fade_into_each_other(shared):
    """By hand: of the frames that both have, the later window counts nothing of the first and one part more of each."""
    clip, window = np.full((2, 9, 1, 1, 3), 10, np.float32), np.full((2, 5, 1, 1, 3), 20, np.float32)
    fade_in(clip, window, 4 - shared, 4)
    faded = [10 + 10 * number / shared for number in range(shared)]
    expected = [10] * (4 - shared) + faded + [20] * (5 - shared) + [10] * shared
    np.testing.assert_allclose(clip[:, :, 0, 0, 0], [expected] * 2, rtol=1e-6)
