import copy
import dataclasses
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_tiling import TileAxis, Tiling, join, run_tiled
from sr_jax.errors import UserError
from tests.models import vae_twin
from tests.models.vae_twin import SMALL, relative_error, run_decode, their_encode

TILING = Tiling(sample_height=24, sample_width=20)


@pytest.fixture(scope="module")
def twins():
    theirs = vae_twin.diffusers_vae(SMALL)
    ours = vae_twin.our_vae(theirs, tiling=TILING)
    theirs.enable_tiling()
    return ours, theirs


def test_tiles_of_the_released_size_are_those_of_diffusers():
    tiling = Tiling(sample_height=240, sample_width=360)
    assert tiling.encoding(8) == (TileAxis(240, 200, 25), TileAxis(360, 288, 36))
    assert tiling.decoding(8) == (TileAxis(30, 25, 200), TileAxis(45, 36, 288))


@pytest.mark.parametrize(("batch", "frames"), [(1, 9), (3, 1), (1, 17)])
def test_tiled_encoding_is_that_of_diffusers(twins, batch, frames):
    ours, theirs = twins
    video = vae_twin.video(batch, frames, 28, 16)
    whole = CogVideoXVAE(ours.config, ours.params)
    for mine, untiled, reference in zip(
        ours.encode(jnp.asarray(video)), whole.encode(jnp.asarray(video)), their_encode(theirs, video), strict=True
    ):
        assert relative_error(mine, reference) < 1e-5
        # Tiles do have an effect.
        assert relative_error(untiled, reference) > 1e-2


@pytest.mark.parametrize(("batch", "frames"), [(1, 5), (3, 1), (1, 3)])
def test_tiled_decoding_is_that_of_diffusers(twins, batch, frames):
    ours, theirs = twins
    latents = vae_twin.latents(batch, frames, 5, 9)
    with torch.no_grad():
        reference = run_decode(theirs, torch.from_numpy(latents))
    decoded = ours.decode_to_host(latents)
    assert isinstance(decoded, np.ndarray)
    assert relative_error(decoded, reference) < 1e-5


def test_images_that_fit_a_tile_are_run_whole(twins):
    ours, theirs = twins
    latents = vae_twin.latents(1, 1, 6, 5)
    with torch.no_grad():
        reference = run_decode(theirs, torch.from_numpy(latents))
    assert relative_error(ours.decode(jnp.asarray(latents)), reference) < 1e-5


@pytest.mark.parametrize(("rows", "columns"), [(7, 9), (6, 11), (12, 4), (16, 14), (1, 17)])
@pytest.mark.parametrize("overlap", [(1 / 6, 1 / 5), (1 / 3, 2 / 5), (1 / 2, 1 / 5)])
def test_any_grid_of_tiles_is_blended_as_in_diffusers(twins, rows, columns, overlap):
    tiling = dataclasses.replace(TILING, overlap_height=overlap[0], overlap_width=overlap[1])
    theirs = copy.deepcopy(twins[1])
    theirs.enable_tiling(None, None, *overlap)
    # In place of the networks: change the size, and add what only a whole tile knows.
    theirs.encoder.forward = lambda tile, conv_cache: (tile[..., ::4, ::4] + tile.std(), None)
    theirs.decoder.forward = lambda tile, conv_cache: (
        tile.repeat_interleave(4, 3).repeat_interleave(4, 4) + tile.std(),
        None,
    )
    video, latents = vae_twin.video(1, 1, 4 * rows, 4 * columns), vae_twin.latents(1, 1, rows, columns)

    def encode(tile):
        return [tile[:, :, ::4, ::4] + tile.std(ddof=1)]

    def decode(tile):
        return [tile.repeat(4, axis=2).repeat(4, axis=3) + tile.std(ddof=1)]

    encoded = join(run_tiled(encode, video, *tiling.encoding(4)))
    decoded = join(run_tiled(decode, latents, *tiling.decoding(4)))
    assert relative_error(encoded, vae_twin.to_ours(theirs.tiled_encode(vae_twin.to_theirs(video)))) < 1e-6
    assert relative_error(decoded, vae_twin.to_ours(theirs.tiled_decode(vae_twin.to_theirs(latents)).sample)) < 1e-6


def test_only_the_edges_of_tiles_wait_in_memory():
    rows, columns = Tiling(240, 360).decoding(8)
    latents = np.zeros((1, 1, 60, 90, 1), np.float32)
    mib = 2**20

    def peak(batches):
        def run(tile):
            return (tile.repeat(8, axis=2).repeat(8, axis=3) for _ in range(batches))

        tracemalloc.start()
        for _ in run_tiled(run, latents, rows, columns):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # 40 rows of each tile of a row (360, 360 and 144 columns), 72 columns of one tile.
    edges = 4 * (40 * (360 + 360 + 144) + 72 * 240)
    assert edges / 2 < (peak(20) - peak(10)) / 10 < 1.01 * edges
    assert peak(20) < 20 * edges + 3 * mib


@pytest.mark.parametrize("tiling", [Tiling(26, 20), Tiling(24, 20, overlap_width=0.3), Tiling(24, 20, 0.99)])
def test_tiles_that_do_not_meet_are_told(twins, tiling):
    with pytest.raises(UserError, match=r"tiles of \d+ that overlap by .* divide evenly"):
        CogVideoXVAE(twins[0].config, twins[0].params, tiling=tiling)
