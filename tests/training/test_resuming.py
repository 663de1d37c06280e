"""Runs that go on with moved, changed or damaged input, or with other settings."""

import json
import shutil

import jax
import pytest

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.checkpoints.reading import item_path, read_meta
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.data.pipeline import train_batches
from sr_jax.errors import UserError
from sr_jax.parallel.lazy import on_host
from sr_jax.training import steps
from sr_jax.training.loop import train
from tests.conversion.test_convert import run
from tests.data import damage
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import PLAIN, assert_same_bits, load_params

LORA = {**PLAIN, "lora.rank": 2, "lora.alpha": 4.0}


@pytest.fixture
def data(tmp_path):
    return write_synthetic_dataset(tmp_path / "data", clips=6, latent_channels=4)


@pytest.fixture(scope="module")
def half_done(tiny, one_device, tmp_path_factory):
    """Workdir of a base run after two of its four steps."""
    workdir = tmp_path_factory.mktemp("half") / "run"
    train(tiny("base", num_train_steps=2), workdir, one_device)
    return workdir


def _seen(monkeypatch):
    """What runs read from now on: the numbers of the clips of each batch."""
    batches, real = [], steps.to_global

    def to_global(batch, *args):
        batches.append(batch["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist())
        return real(batch, *args)

    monkeypatch.setattr(steps, "to_global", to_global)
    return batches


def test_a_run_goes_on_at_another_rate_with_larger_batches_for_more_steps(
    tiny, dataset, half_done, one_device, tmp_path, monkeypatch
):
    workdir, changes = shutil.copytree(half_done, tmp_path / "run"), {"batch_size": 6, "optimizer.learning_rate": 0.01}
    with pytest.raises(UserError, match=r"batch_size=4, now it is 6; .*learning_rate=0\.001, now it is 0\.01: use an"):
        train(tiny("base", **changes), workdir, one_device)
    assert read_meta(workdir)["step"] == 2
    seen = _seen(monkeypatch)
    allow = {"resume.allow": "batch_size,optimizer.learning_rate"}
    state = train(tiny("base", **changes, **allow, num_train_steps=3), workdir, one_device)
    stream = train_batches(dataset, batch_size=1, seed=0)
    clips = [int(next(stream)["latent_mean"][0, 0, 0, 0, 0]) for _ in range(26)]
    assert seen == [clips[8:14]]
    # The optimizer went on.
    counts = [int(leaf) for path, leaf in jax.tree.leaves_with_path(state.opt_state) if "count" in str(path[-1])]
    assert counts == [3, 3]
    assert read_meta(workdir)["data_position"] == {"step": 2, "batch_size": 6, "clips": [8]}
    # The same command again goes on from there, and so does one that allows nothing any more.
    train(tiny("base", **changes, num_train_steps=5), workdir, one_device)
    assert seen == [clips[8:14], clips[14:20], clips[20:26]]
    assert [line["step"] for line in read_metrics(workdir)] == [2, 3, 4, 5]


def test_moved_data_and_a_moved_workdir_go_on(tiny, data, one_device, tmp_path):
    config = {"data.dir": str(data), "num_train_steps": 2}
    train(tiny("base", **config), tmp_path / "whole", one_device)
    train(tiny("base", **config | {"num_train_steps": 1}), tmp_path / "run", one_device)
    data.rename(tmp_path / "elsewhere")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    train(tiny("base", **config | {"data.dir": str(tmp_path / "elsewhere")}), moved, one_device)
    assert_same_bits(load_params(moved)[0], load_params(tmp_path / "whole")[0])


def test_other_data_is_refused_unless_it_is_allowed(tiny, data, one_device, tmp_path, monkeypatch):
    config = {"data.dir": str(data), "num_train_steps": 1}
    train(tiny("base", **config), tmp_path / "run", one_device)
    other = write_synthetic_dataset(tmp_path / "other", clips=6, latent_channels=4, seed=1)
    changed = config | {"data.dir": str(other), "num_train_steps": 2}
    with pytest.raises(UserError, match=r"other data than there is in .*other: .* holds other records than then; name"):
        train(tiny("base", **changed), tmp_path / "run", one_device)
    seen = _seen(monkeypatch)
    train(tiny("base", **changed, **{"resume.allow": "data.dir"}), tmp_path / "run", one_device)
    first = next(train_batches(other, batch_size=4, seed=0))["latent_mean"][:, 0, 0, 0, 0].astype(int).tolist()
    assert seen == [first]


def test_a_run_goes_on_when_a_file_of_its_data_is_damaged(tiny, one_device, tmp_path, monkeypatch):
    files = damage.write_in_files(tmp_path / "data", monkeypatch, 3, clips=6, latent_channels=4)
    config = {"data.dir": str(tmp_path / "data"), "num_train_steps": 1}
    train(tiny("base", **config), tmp_path / "run", one_device)
    whole = files[1].read_bytes()
    damage.truncate(files[1], 0.5)
    config["num_train_steps"] = 2
    with pytest.raises(UserError, match=r"2 of 6 clips are damaged, more than config\.data\.max_damaged=0\.05 of them"):
        train(tiny("base", **config), tmp_path / "run", one_device)
    train(tiny("base", **config, **{"data.max_damaged": 0.4}), tmp_path / "run", one_device)
    # And when it is whole again, but not when it is another.
    files[1].write_bytes(whole)
    config["num_train_steps"] = 3
    train(tiny("base", **config), tmp_path / "run", one_device)
    shutil.copy(files[0], files[1])
    with pytest.raises(UserError, match="00001-of-00003 holds other records than then"):
        train(tiny("base", **config), tmp_path / "run", one_device)


def test_too_many_records_that_are_damaged_stop_a_run_at_its_next_line_of_the_log(tiny, one_device, tmp_path):
    options = {"clips": 6, "latent_channels": 4, "height": 16, "width": 16, "text_shape": (64, 64)}
    data = write_synthetic_dataset(tmp_path / "data", **options)
    damage.flip(damage.record_files(data)[0], 0.1, 0.9)
    config = tiny("base", **{"data.dir": str(data), "model.max_text_seq_length": 64, "model.text_embed_dim": 64})
    with pytest.raises(UserError, match=r"^2 of 6 clips are damaged, more than config\.data\.max_damaged=0\.05 of"):
        train(config, tmp_path / "run", one_device)
    assert read_metrics(tmp_path / "run") == []


def test_a_start_that_is_gone_is_not_missed_and_another_is_refused(tiny, base_run, half_done, one_device, tmp_path):
    start = shutil.copytree(base_run, tmp_path / "start")
    config = {"init.transformer": str(start), "num_train_steps": 1}
    train(tiny("base", **config), tmp_path / "run", one_device)
    config["num_train_steps"] = 2
    with pytest.raises(UserError, match=r"started from weights that are none of those in .*half.*: name the folder"):
        train(tiny("base", **config | {"init.transformer": str(half_done)}), tmp_path / "run", one_device)
    shutil.rmtree(start)
    train(tiny("base", **config), tmp_path / "run", one_device)
    assert read_meta(tmp_path / "run")["step"] == 2


def test_frozen_modules_are_known_wherever_they_are(stage_two, stage_one_run, one_device, tmp_path):
    modules = shutil.copytree(stage_one_run, tmp_path / "modules")
    places = {f"alignment.{name}.module": str(modules) for name in ("structure", "identity")}

    def config(**overrides):
        config = stage_two(num_train_steps=overrides.pop("num_train_steps"))
        config.update_from_flattened_dict(overrides)
        return config

    train(config(num_train_steps=1, **places), tmp_path / "run", one_device)
    # The one that it was made of is the same by its hash.
    train(config(num_train_steps=2), tmp_path / "run", one_device)
    assert read_meta(tmp_path / "run")["frozen_steps"] == {"structure": 4, "identity": 4}
    shutil.rmtree(item_path(modules, item="params"))
    for path in item_path(modules).rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.rename(path.with_name("another"))
            break
    with pytest.raises(UserError, match=r"frozen structure that is none of the checkpoints in .*modules: name the"):
        train(config(num_train_steps=3, **places), tmp_path / "run", one_device)


@pytest.fixture(scope="module")
def lora_run(stage_two, base_run, one_device, tmp_path_factory):
    """A folder with a LoRA run and, beside it, the base run that it adapts."""
    folder = tmp_path_factory.mktemp("lora")
    config = stage_two(num_train_steps=1, **LORA)
    config.init.transformer = str(shutil.copytree(base_run, folder / "base"))
    train(config, folder / "run", one_device)
    return folder


def test_the_base_of_a_lora_is_found_where_it_was_moved_with_it(lora_run, tmp_path):
    expected = on_host(load_transformer(lora_run / "run")[0])
    together = shutil.copytree(lora_run, tmp_path / "together")
    (lora_run / "base").rename(lora_run / "renamed")
    assert_same_bits(on_host(load_transformer(together / "run")[0]), expected)
    # Under another name, beside it; then nowhere, and where the flag says.
    (together / "base").rename(together / "other")
    assert_same_bits(on_host(load_transformer(together / "run")[0]), expected)
    (together / "other").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"run adapts the transformer .*base at step 4, which is not in .* with --base"):
        load_transformer(together / "run")
    run("merge", "--checkpoint", together / "run", "--base", tmp_path / "away", "--output", tmp_path / "merged")
    assert_same_bits(on_host(load_transformer(tmp_path / "merged")[0]), expected)
    with pytest.raises(UserError, match=r"which is not in .*run: say where it is with --base"):
        load_transformer(together / "run", base=together / "run")
    with pytest.raises(UserError, match="holds a whole transformer, which adapts no other one: leave out --base"):
        load_transformer(tmp_path / "away", base=tmp_path / "away")
    (lora_run / "renamed").rename(lora_run / "base")


def _as_of_an_earlier_version(workdir):
    """Takes from a workdir's checkpoints what earlier versions did not write."""
    for path in workdir.glob("checkpoints/*/meta/metadata"):
        meta = json.loads(path.read_text())
        del meta["origins"], meta["data_position"]
        del meta["config"]["resume"], meta["config"]["data"]["max_damaged"]
        path.write_text(json.dumps(meta))
    path = workdir / "config.json"
    values = json.loads(path.read_text())
    del values["resume"], values["data"]["max_damaged"]
    path.write_text(json.dumps(values))
    return workdir


def test_a_workdir_of_an_earlier_version_goes_on_and_is_known_from_then_on(
    tiny, data, base_run, half_done, one_device, tmp_path
):
    workdir = _as_of_an_earlier_version(shutil.copytree(half_done, tmp_path / "run"))
    with pytest.raises(UserError, match=r"config\.data\.dir=.*, now it is .*allow=data\.dir"):
        train(tiny("base", **{"data.dir": str(data)}), workdir, one_device)
    train(tiny("base"), workdir, one_device)
    assert_same_bits(load_params(workdir)[0], load_params(base_run)[0])
    assert {"data", "start", "frozen", "places"} == read_meta(workdir)["origins"].keys()


def test_a_lora_of_an_earlier_version_is_read_with_what_lies_at_its_place(lora_run, tmp_path):
    expected = on_host(load_transformer(lora_run / "run")[0])
    old = _as_of_an_earlier_version(shutil.copytree(lora_run / "run", tmp_path / "old"))
    assert_same_bits(on_host(load_transformer(old)[0]), expected)
    base = shutil.copytree(lora_run / "base", tmp_path / "base")
    assert_same_bits(on_host(load_transformer(old, base=base)[0]), expected)


def test_a_workdir_without_its_config_goes_on_with_that_of_its_checkpoint(
    tiny, base_run, half_done, one_device, tmp_path
):
    workdir = shutil.copytree(half_done, tmp_path / "run")
    (workdir / "config.json").write_text("")
    with pytest.raises(UserError, match=r"cannot be read .*: remove it, and what the newest checkpoint says is taken$"):
        train(tiny("base"), workdir, one_device)
    (workdir / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.seed=0, now it is 1"):
        train(tiny("base", seed=1), workdir, one_device)
    train(tiny("base"), workdir, one_device)
    assert_same_bits(load_params(workdir)[0], load_params(base_run)[0])


def test_a_size_with_too_few_clips_is_left_out_of_a_run(tiny, one_device, tmp_path, caplog):
    for name, width, clips in (("16x16", 16, 6), ("16x24", 24, 3)):
        write_synthetic_dataset(tmp_path / "data" / name, clips=clips, latent_channels=4, width=width)
    train(tiny("base", **{"data.dir": str(tmp_path / "data"), "num_train_steps": 2}), tmp_path / "run", one_device)
    assert any("16x24 has 3 clips, fewer than one batch of 4" in record.message for record in caplog.records)
    assert read_meta(tmp_path / "run")["num_clips"] == [6, 3]
