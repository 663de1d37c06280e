"""Stage one and stage two from a folder that diffusers saved."""

import jax
import numpy as np
import pytest

from sr_jax.backbones.releases import import_pipeline
from sr_jax.checkpoints.reading import read_meta
from sr_jax.configs import stage_one, stage_two
from sr_jax.conversion.importing import Source
from sr_jax.data.builder import read_empty_prompt
from sr_jax.errors import UserError
from sr_jax.training.loop import train
from tests.conversion.folders import save_pipeline
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import load_params


@pytest.fixture(scope="module")
def imported(original, tmp_path_factory):
    """An import of a tiny CogVideoX-5B-I2V, whose position table is of some size."""
    folder = save_pipeline(original, tmp_path_factory.mktemp("pipeline") / "theirs")
    import_pipeline(Source(folder, "theirs"), folder.parent / "ours", components=["transformer"])
    return folder.parent / "ours"


@pytest.fixture(scope="module")
def shrink(imported, tmp_path_factory):
    """Makes a released size's config fit the import, on records of its size; all else stays, decay is made large."""
    data = tmp_path_factory.mktemp("data")
    write_synthetic_dataset(
        data, clips=4, frames=9, height=32, width=48, latent_channels=4, text_shape=(5, 10), model=imported
    )

    def shrink(config):
        released = {"structure": config.structure.to_dict(), "model": config.model.to_dict()}
        model = read_meta(imported)["config"]["model"]
        changed = {name for name, value in released["structure"].items() if value != released["model"][name]}
        assert changed == {"in_channels", "num_layers", "use_learned_positional_embeddings"}
        config.model.update(model)
        config.structure.update(model, in_channels=4, num_layers=1, use_learned_positional_embeddings=False)
        config.identity.update(latent_channels=4, widths=(8,), blocks_per_stage=1, embedding_dim=8)
        config.optimizer.update(warmup_steps=0, learning_rate=1e-2, weight_decay=0.3)
        config.update(batch_size=4, num_train_steps=3, dtype="float32")
        config.data.update(dir=str(data), codec="cogvideox_vae")
        config.init.transformer = str(imported)
        return config

    return shrink


@pytest.fixture(scope="module")
def stage_one_run(shrink, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    train(shrink(stage_one.get_config("5b_i2v")), workdir, jax.devices()[:1])
    return workdir


def test_stage_one_starts_from_blocks_of_the_import_and_keeps_its_text(stage_one_run, imported, shrink, tmp_path):
    backbone = load_params(imported)[0]["transformer"]
    untrained = shrink(stage_one.get_config("5b_i2v"))
    untrained.num_train_steps = 0
    train(untrained, tmp_path / "start", jax.devices()[:1])
    start = load_params(tmp_path / "start", step=0)[0]["structure"]["transformer"]
    # Of two blocks the first is kept, and of eight channels the noisy latent's four.
    for name, first, all_blocks in (
        (name, start["transformer_blocks"]["ff"][name]["kernel"], backbone["transformer_blocks"]["ff"][name]["kernel"])
        for name in ("proj_in", "proj_out")
    ):
        np.testing.assert_array_equal(first, all_blocks[:1], err_msg=name)
    kept = start["patch_embed"]["proj"]["kernel"]
    np.testing.assert_array_equal(kept, backbone["patch_embed"]["proj"]["kernel"][: len(kept)])
    assert len(kept) == 4 * 2 * 2

    prompt = read_empty_prompt(shrink(stage_one.get_config("5b_i2v")).data.dir)
    assert prompt.any()
    for item in ("params", "ema_params"):
        end = load_params(stage_one_run, item=item)[0]["structure"]
        np.testing.assert_array_equal(end["empty_prompt"], prompt)
        assert (end["transformer"]["patch_embed"]["proj"]["kernel"] != kept).any()


def test_stage_two_trains_all_but_the_position_table(stage_one_run, imported, shrink, tmp_path):
    config = shrink(stage_two.get_config("5b_i2v"))
    for name in ("structure", "identity"):
        config.alignment[name].module = str(stage_one_run)
    train(config, tmp_path / "run", jax.devices()[:1])
    before = load_params(imported)[0]["transformer"]
    for item in ("params", "ema_params"):
        after = load_params(tmp_path / "run", item=item)[0]["transformer"]
        table = after["patch_embed"].pop("pos_embedding")
        np.testing.assert_array_equal(table, before["patch_embed"]["pos_embedding"].astype(np.float32))
        for path, leaf in jax.tree_util.tree_leaves_with_path(after):
            start = before
            for key in path:
                start = start[key.key]
            assert (leaf != start).any(), jax.tree_util.keystr(path)


@pytest.mark.parametrize("text", ["none", "anything"])
def test_the_text_of_the_structure_module_is_a_choice(shrink, text, tmp_path):
    config = shrink(stage_one.get_config("5b_i2v"))
    config.update(structure_text=text, num_train_steps=0)
    if text == "anything":
        with pytest.raises(UserError, match="structure_text is 'anything': it must be none or empty_prompt"):
            train(config, tmp_path / "run", jax.devices()[:1])
    else:
        train(config, tmp_path / "run", jax.devices()[:1])
        assert set(load_params(tmp_path / "run")[0]["structure"]) == {"transformer"}
