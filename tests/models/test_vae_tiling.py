import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sr_jax.errors import UserError
from sr_jax.models.vae import CogVideoXVAE
from sr_jax.models.vae_tiling import TileAxis, Tiling, run_tiled
from tests.models import vae_twin
from tests.models.vae_twin import SMALL, relative_error, their_decode, their_encode

TILING = Tiling(sample_height=24, sample_width=20)


@pytest.fixture(scope="module")
def twins():
    theirs = vae_twin.diffusers_vae(SMALL)
    ours = vae_twin.our_vae(theirs, tiling=TILING)
    theirs.enable_tiling()
    return ours, theirs


def test_tiles_of_the_released_size_are_those_of_diffusers():
    tiling = Tiling(sample_height=240, sample_width=360)
    assert tiling.encoding(8) == (TileAxis(240, 200, 5, 25), TileAxis(360, 288, 9, 36))
    assert tiling.decoding(8) == (TileAxis(30, 25, 40, 200), TileAxis(45, 36, 72, 288))


def test_tiled_encoding_and_decoding_are_those_of_diffusers(twins):
    ours, theirs = twins
    video, latents = vae_twin.video(1, 9, 28, 36), vae_twin.latents(1, 3, 7, 9)
    for mine, reference in zip(ours.encode(jnp.asarray(video)), their_encode(theirs, video), strict=True):
        assert relative_error(mine, reference) < 1e-5
    with torch.no_grad():
        reference = their_decode(theirs, torch.from_numpy(latents))
    decoded = ours.decode(jnp.asarray(latents))
    assert relative_error(decoded, reference) < 1e-5
    # Tiles do have an effect.
    whole = CogVideoXVAE(ours.config, ours.params)
    assert relative_error(whole.decode(jnp.asarray(latents)), reference) > 1e-2


def test_tiled_decoding_to_host_memory_gives_the_same_video(twins):
    ours, _ = twins
    latents = vae_twin.latents(1, 3, 7, 9)
    streamed = ours.decode_to_host(latents)
    assert isinstance(streamed, np.ndarray)
    assert relative_error(streamed, ours.decode(jnp.asarray(latents))) < 1e-6


def test_images_that_fit_a_tile_are_run_whole(twins):
    ours, theirs = twins
    latents = vae_twin.latents(1, 1, 6, 5)
    with torch.no_grad():
        reference = their_decode(theirs, torch.from_numpy(latents))
    assert relative_error(ours.decode(jnp.asarray(latents)), reference) < 1e-5


@pytest.mark.parametrize(("rows", "columns"), [(7, 9), (6, 11), (12, 4), (16, 14), (1, 17)])
@pytest.mark.parametrize("overlap", [(1 / 6, 1 / 5), (1 / 3, 2 / 5), (1 / 2, 1 / 5)])
def test_any_grid_of_tiles_is_blended_as_in_diffusers(rows, columns, overlap):
    tiling = dataclasses.replace(TILING, overlap_height=overlap[0], overlap_width=overlap[1])
    theirs = vae_twin.diffusers_vae(SMALL)
    theirs.enable_tiling(None, None, *overlap)
    latents = vae_twin.latents(1, 1, rows, columns)

    # In place of the network: enlarges, and adds what only a whole tile knows.
    def their_run(tile, conv_cache):
        return tile.repeat_interleave(4, 3).repeat_interleave(4, 4) + tile.std(), None

    def our_run(tile):
        return tile.repeat(4, axis=2).repeat(4, axis=3) + tile.std(ddof=1)

    theirs.decoder.forward = their_run
    reference = theirs.tiled_decode(torch.from_numpy(latents).permute(0, 4, 1, 2, 3)).sample.permute(0, 2, 3, 4, 1)
    for given in (latents, jnp.asarray(latents)):
        assert relative_error(run_tiled(our_run, given, *tiling.decoding(4)), reference) < 1e-6


@pytest.mark.parametrize("tiling", [Tiling(26, 20), Tiling(24, 20, overlap_width=0.3), Tiling(24, 20, 0.99)])
def test_tiles_that_do_not_meet_are_told(twins, tiling):
    with pytest.raises(UserError, match=r"tiles of \d+ that overlap by .* divide evenly"):
        CogVideoXVAE(twins[0].config, twins[0].params, tiling=tiling)
