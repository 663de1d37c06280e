"""Clips of several numbers of frames in one run, and of several datasets."""

import logging
import shutil

import jax
import numpy as np
import pytest

from sr_jax.checkpoints.reading import read_meta
from sr_jax.errors import UserError
from sr_jax.training import steps
from sr_jax.training.held_out_loss import make_held_out_loss
from sr_jax.training.loop import train
from sr_jax.training.sample_clips import make_sample_clips
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import assert_same_bits, load_params
from tests.training.run_parts import make_parts
from tests.training.test_sample_clips import CODEC

_ONE_BLOCK = {"model.num_layers": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of 9 frames and, beside them, of 5."""
    folder = tmp_path_factory.mktemp("counts")
    for name, frames, test_clips in (("16x16", 9, 3), ("5x16x16", 5, 1)):
        write_synthetic_dataset(folder / name, clips=4, test_clips=test_clips, latent_channels=4, frames=frames)
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The shapes and numbers of the clips of each batch that is trained on, as it is."""
    batches, real = [], steps.to_global

    def to_global(batch, *args):
        latents = batch["latent_mean"]
        batches.append((latents.shape, latents[:, 0, 0, 0, 0].astype(int).tolist()))
        return real(batch, *args)

    monkeypatch.setattr(steps, "to_global", to_global)
    return batches


def test_a_run_on_several_lengths_and_datasets_goes_on_as_if_it_had_never_stopped(
    tiny, data, one_device, tmp_path, seen, caplog
):
    # Too few clips for a batch of their own.
    more = write_synthetic_dataset(tmp_path / "more", clips=2, latent_channels=4, seed=9)
    overrides = _ONE_BLOCK | {"data.dir": str(data), "data.more_dirs": (str(more),), "data.shares": (1, 1)}
    overrides |= {"num_train_steps": 2, "checkpoint_every": 1, "heldout.every_steps": 0}
    caplog.set_level(logging.INFO)
    train(tiny("base", **overrides), tmp_path / "whole", one_device)
    # A half of what is trained on is of either dataset, whatever its clips.
    assert [record.message for record in caplog.records if record.message.startswith("data: ")] == [
        f"data: {data / '16x16'}: 4 clips, 25.0% of the batches",
        f"data: {data / '5x16x16'}: 4 clips, 25.0% of the batches",
        f"data: {more}: 2 clips, 50.0% of the batches",
    ]
    whole = seen.copy()
    assert {shape for shape, _ in whole} == {(4, 3, 4, 4, 4), (4, 2, 4, 4, 4)}
    meta = read_meta(tmp_path / "whole")
    assert meta["provenance"]["clip"]["sizes"] == ["16x16", "5x16x16"] and meta["num_clips"] == [4, 6]
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "2")
    seen.clear()
    moved = more.rename(tmp_path / "moved")
    refused = tiny("base", **overrides | {"data.more_dirs": (str(moved),), "data.shares": (1, 2)})
    with pytest.raises(UserError, match=r"config\.data\.shares=\[1, 1\], now it is \[1, 2\]"):
        train(refused, tmp_path / "resumed", one_device)
    train(tiny("base", **overrides | {"data.more_dirs": (str(moved),)}), tmp_path / "resumed", one_device)
    assert seen == whole[1:]
    assert_same_bits(*(load_params(tmp_path / name)[0] for name in ("resumed", "whole")))


def test_losses_of_all_lengths_are_those_of_each(tiny, data):
    """Of stage two, so that the structure module and the identity module see them too."""

    def hook(folder):
        config = tiny("stage_two", **_ONE_BLOCK | {"data.dir": str(folder), "heldout.clips": 4})
        parts, state = make_parts(config, tiny("stage_one"))
        return make_held_out_loss(parts)(0, state)

    whole, long, short = map(hook, (data, data / "16x16", data / "5x16x16"))
    for name in ("loss", "loss/denoising", "loss/structure", "loss/identity"):
        of_each = [found[f"heldout/{name}"] for found in (long, long, long, short)]
        np.testing.assert_allclose(whole[f"heldout/{name}"], np.mean(of_each), rtol=1e-4)


def test_sample_clips_are_as_long_as_the_held_out_ones(tiny, data):
    section = {"codec.name": CODEC, "codec.path": "c0", "clips": 4, "num_inference_steps": 1, "sampler": "dpm"}
    config = tiny("base", **_ONE_BLOCK, **{f"samples.{name}": value for name, value in section.items()})
    config.data.dir = str(data)
    parts, state = make_parts(config, tiny("stage_one"))
    latents = [
        jax.eval_shape(group.sample, state.ema_params, parts.frozen, group.batch)
        for group in make_sample_clips(parts)._groups
    ]
    assert [item.shape for item in latents] == [(3, 3, 4, 4, 4), (1, 2, 4, 4, 4)]


def test_learned_positions_take_one_length(tiny, data, one_device, tmp_path):
    config = tiny("base", **_ONE_BLOCK | {"data.dir": str(data), "model.use_learned_positional_embeddings": True})
    message = r"16x16 do not fit: the learned position table is for latents of \(2, 4, 4\) \(T, H, W\), not \(3, 4, 4\)"
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()
