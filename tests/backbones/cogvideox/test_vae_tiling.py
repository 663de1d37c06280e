import dataclasses
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_tiling import TileAxis, Tiling, join, run_tiled
from sr_jax.errors import UserError
from tests.comparison import relative_error
from tests.models import tiny_vae
from tests.models.tiny_vae import SMALL, decoding_error

TILING = Tiling(sample_height=24, sample_width=20)


@pytest.fixture(scope="module")
def codec(original):
    return tiny_vae.our_vae(original, SMALL, tiling=TILING)


def test_tiles_of_the_released_size_are_those_of_diffusers():
    tiling = Tiling(sample_height=240, sample_width=360)
    assert tiling.encoding(8) == (TileAxis(240, 200, 25), TileAxis(360, 288, 36))
    assert tiling.decoding(8) == (TileAxis(30, 25, 200), TileAxis(45, 36, 288))


@pytest.mark.parametrize(("batch", "frames"), [(1, 9), (3, 1), (1, 17)])
def test_tiled_encoding_is_that_of_diffusers(original, codec, batch, frames):
    video = tiny_vae.video(batch, frames, 28, 16)
    whole = CogVideoXVAE(codec.config, codec.params)
    references = original("vae").encode(SMALL, video, tiled=True)
    for mine, untiled, reference in zip(
        codec.encode(jnp.asarray(video)), whole.encode(jnp.asarray(video)), references, strict=True
    ):
        assert relative_error(mine, reference) < 1e-5
        # Tiles do have an effect.
        assert relative_error(untiled, reference) > 1e-2


@pytest.mark.parametrize(("batch", "frames"), [(1, 5), (3, 1), (1, 3)])
def test_tiled_decoding_is_that_of_diffusers(original, codec, batch, frames):
    latents = tiny_vae.latents(batch, frames, 5, 9)
    decoded = codec.decode_to_host(latents)
    assert isinstance(decoded, np.ndarray)
    assert decoding_error(decoded, original("vae").decode(SMALL, latents, tiled=True)) < 1e-5


@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (6, 5)])
def test_pieces_of_a_clip_are_the_clip(codec, rows, columns):
    """With tiles, which are put together in a file, and whole."""
    latents = tiny_vae.latents(1, 5, rows, columns)
    pieces = list(codec.decode_pieces(latents))
    assert len(pieces) > 1 and not any(isinstance(piece, np.memmap) for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), codec.decode_to_host(latents))


def test_weights_leave_the_device_and_come_back(original):
    codec = tiny_vae.our_vae(original, SMALL)
    latents = tiny_vae.latents(1, 1, 6, 5)
    before, kernel = codec.decode_to_host(latents), codec.params["encoder"]["conv_out"]["conv"]["kernel"]
    codec.release()
    assert codec._weights._placed is None
    np.testing.assert_array_equal(codec.decode_to_host(latents), before)
    assert codec.params["encoder"]["conv_out"]["conv"]["kernel"] is not kernel


def test_images_that_fit_a_tile_are_run_whole(original, codec):
    latents = tiny_vae.latents(1, 1, 6, 5)
    reference = original("vae").decode(SMALL, latents, tiled=True)
    assert decoding_error(codec.decode(jnp.asarray(latents)), reference) < 1e-5


@pytest.mark.parametrize(("rows", "columns"), [(7, 9), (6, 11), (12, 4), (16, 14), (1, 17)])
@pytest.mark.parametrize("overlap", [(1 / 6, 1 / 5), (1 / 3, 2 / 5), (1 / 2, 1 / 5)])
def test_any_grid_of_tiles_is_blended_as_in_diffusers(original, rows, columns, overlap):
    tiling = dataclasses.replace(TILING, overlap_height=overlap[0], overlap_width=overlap[1])
    video, latents = tiny_vae.video(1, 1, 4 * rows, 4 * columns), tiny_vae.latents(1, 1, rows, columns)
    expected = original("vae").blended_tiles(SMALL, overlap, video, latents)

    # In place of the networks, as there: change the size, and add what only a whole tile knows.
    def encode(tile):
        return [tile[:, :, ::4, ::4] + tile.std(ddof=1)]

    def decode(tile):
        return [tile.repeat(4, axis=2).repeat(4, axis=3) + tile.std(ddof=1)]

    encoded = join(run_tiled(encode, video, *tiling.encoding(4)))
    decoded = join(run_tiled(decode, latents, *tiling.decoding(4)))
    for ours, theirs in zip((encoded, decoded), expected, strict=True):
        assert relative_error(ours, theirs) < 1e-6


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
def test_tiles_that_do_not_meet_are_told(codec, tiling):
    with pytest.raises(UserError, match=r"tiles of \d+ that overlap by .* divide evenly"):
        CogVideoXVAE(codec.config, codec.params, tiling=tiling)
