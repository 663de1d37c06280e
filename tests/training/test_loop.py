"""Resuming, kills, meshes and bad input."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from sr_jax.checkpoints.logs import read_metrics
from sr_jax.checkpoints.reading import read_meta
from sr_jax.errors import UserError
from sr_jax.training.loop import train
from sr_jax.training.workdirs import check_config, write_config
from tests.compiling import QUICK_COMPILES
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import assert_close, assert_same_bits, load_params


def test_a_run_in_two_parts_ends_like_a_run_in_one(tiny, base_run, one_device, tmp_path):
    train(tiny("base", num_train_steps=2), tmp_path / "run", one_device)
    state = train(tiny("base"), tmp_path / "run", one_device)
    for item in ("params", "ema_params"):
        assert_same_bits(load_params(tmp_path / "run", item=item)[0], load_params(base_run, item=item)[0])
    assert int(state.step) == 4
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [2, 4]


def test_a_run_goes_on_with_fewer_devices_and_smaller_parts(tiny, base_run, one_device, tmp_path):
    train(tiny("base", num_train_steps=2), tmp_path / "run", jax.devices()[:4])
    train(tiny("base", accumulate_steps=2), tmp_path / "run", one_device)
    assert read_meta(tmp_path / "run")["config"]["accumulate_steps"] == 2
    # As for any mesh, see below.
    assert_close(load_params(tmp_path / "run")[0], load_params(base_run)[0], rtol=1e-4, atol=2e-5)


def test_a_finished_run_stays_as_it_is(tiny, base_run, one_device):
    before = read_metrics(base_run)
    state = train(tiny("base"), base_run, one_device)
    assert int(state.step) == 4
    assert read_metrics(base_run) == before


def test_another_seed_trains_another_model(tiny, base_run, one_device, tmp_path):
    train(tiny("base", seed=1, num_train_steps=2), tmp_path / "run", one_device)
    other = load_params(tmp_path / "run")[0]["transformer"]["proj_out"]["kernel"]
    assert np.any(other != load_params(base_run, step=2)[0]["transformer"]["proj_out"]["kernel"])


def test_a_checkpoint_says_what_it_is(base_run, tiny):
    meta = read_meta(base_run)
    assert meta["step"] == 4
    assert meta["stage"] == "base"
    assert meta["config"]["model"]["num_layers"] == tiny("base").model.num_layers
    assert meta["provenance"]["codec"]["name"] == "fake"


def _command(workdir, dataset):
    overrides = {
        "data.dir": dataset, "batch_size": 4, "num_train_steps": 40, "log_every": 1, "checkpoint_every": 4,
        "model.num_attention_heads": 1, "model.attention_head_dim": 16, "model.num_layers": 1,
        "model.time_embed_dim": 8, "model.text_embed_dim": 12, "model.in_channels": 8, "model.out_channels": 4,
    }  # fmt: skip
    flags = [f"--config.{name}={value}" for name, value in overrides.items()]
    return [sys.executable, "-m", "sr_jax.train", "--config=configs/base.py:tiny", f"--workdir={workdir}", *flags]


def test_killed_and_stopped_runs_end_with_the_same_bits(dataset, tmp_path):
    cache = jax.config.jax_compilation_cache_dir
    environment = os.environ | {"XLA_FLAGS": QUICK_COMPILES, "JAX_COMPILATION_CACHE_DIR": cache}
    subprocess.run(_command(tmp_path / "calm", dataset), check=True, env=environment, capture_output=True)
    # Between two checkpoints, and again after a resume.
    for last_seen, how, code in ((10, signal.SIGKILL, -signal.SIGKILL), (26, signal.SIGTERM, 75)):
        process = subprocess.Popen(_command(tmp_path / "killed", dataset), env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not any(line["step"] >= last_seen for line in read_metrics(tmp_path / "killed")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(how)
        assert process.wait() == code
    # Told to stop, it saved the step that it was at.
    stopped_at = read_metrics(tmp_path / "killed")[-1]["step"]
    assert read_meta(tmp_path / "killed")["step"] == stopped_at
    subprocess.run(_command(tmp_path / "killed", dataset), check=True, env=environment, capture_output=True)
    for item in ("params", "ema_params"):
        assert_same_bits(load_params(tmp_path / "killed", item=item)[0], load_params(tmp_path / "calm", item=item)[0])
    logs = [[(line["step"], line["loss"]) for line in read_metrics(tmp_path / run)] for run in ("calm", "killed")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("mesh", [{"data": 4}, {"data": 2, "fsdp": 2}, {"fsdp": 2, "tensor": 2}])
def test_a_mesh_computes_what_one_device_computes(tiny, base_run, mesh, tmp_path):
    devices = jax.devices()[: int(np.prod(list(mesh.values())))]
    config = tiny("base", num_train_steps=2)
    config.mesh.update({"data": 1, "fsdp": 1} | mesh)
    train(config, tmp_path / "run", devices)
    # Adam divides by the root of its second moment, so rounding shows most where gradients are nearly 0.
    assert_close(load_params(tmp_path / "run")[0], load_params(base_run, step=2)[0], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer.learning_rate": 0.5}, "config.optimizer.learning_rate=0.001, now it is 0.5"),
        ({"model.num_layers": 3}, "config.model.num_layers=2, now it is 3"),
    ],
)
def test_a_workdir_of_another_config(tiny, base_run, one_device, overrides, message):
    with pytest.raises(UserError, match=message):
        train(tiny("base", **overrides), base_run, one_device)


def test_a_workdir_that_holds_something_else(tiny, one_device, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        train(tiny("base"), tmp_path, one_device)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match=r"thesis.txt is a file: name a new or empty folder"):
        train(tiny("base"), tmp_path / "thesis.txt", one_device)


@pytest.mark.parametrize("workdir", ["gs://bucket/run", "s3://bucket/run"])
def test_a_workdir_that_is_no_folder(tiny, one_device, tmp_path, monkeypatch, workdir):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="mount the bucket, and name a folder in it"):
        train(tiny("base"), Path(workdir), one_device)
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"config.json cannot be written \(Not a directory\): choose another --workdir"):
        write_config(tiny("base"), tmp_path / "file" / "run")


def test_a_config_that_a_kill_left_half_written_is_no_run(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        # As after SIGKILL, nothing tidies up.
        killed.setattr(Path, "unlink", mock.Mock())
        killed.setattr("os.replace", mock.Mock(side_effect=KeyboardInterrupt))
        write_config(tiny("base"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    check_config(tiny("base"), tmp_path)
    write_config(tiny("base"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_an_emptied_config_is_one_line(tiny, tmp_path):
    write_config(tiny("base"), tmp_path)
    (tmp_path / "config.json").write_text("")
    with pytest.raises(UserError, match=r"config.json cannot be read .*: remove the folder"):
        check_config(tiny("base"), tmp_path)


@pytest.mark.parametrize(
    ("stage", "overrides", "message"),
    [
        ("base", {"data.dir": "nowhere"}, "no dataset in nowhere"),
        ("base", {"data.dir": ""}, "config.data.dir is empty"),
        ("base", {"data.split": "dev"}, "no split 'dev'"),
        ("base", {"data.codec": "other"}, "made with the codec 'fake'"),
        ("base", {"batch_size": 100}, "fewer than one batch"),
        ("base", {"stage": "stage_zero"}, "choose one of base, stage_one, stage_two"),
        ("base", {"optimizer.schedule": "triangle"}, "it must be constant or cosine"),
        ("base", {"init.transformer": "nowhere"}, "nowhere holds no checkpoints"),
        ("base", {"log_every": 0}, "config.log_every is 0: it must be a whole number, at least 1"),
        ("base", {"checkpoint_every": 0}, "config.checkpoint_every is 0: it must be a whole number, at least 1"),
        ("base", {"keep_checkpoints": 0}, "config.keep_checkpoints is 0: it must be a whole number, at least 1"),
        ("base", {"max_skipped_steps": -1}, "config.max_skipped_steps is -1: it must be a whole number, at least 0"),
        ("base", {"watchdog.step_seconds": -1.0}, r"config.watchdog.step_seconds is -1.0: it must be .* at least 0"),
        ("base", {"dtype": "float16"}, "config.dtype is 'float16': it must be float32 or bfloat16"),
        ("base", {"lora.rank": 1}, "config.init.transformer is empty: with config.lora.rank=1"),
        ("stage_one", {"structure_input": "dirty"}, "it must be clean or noisy"),
        ("stage_two", {}, r"config.alignment.\w+.module is empty"),
    ],
)
def test_bad_input_leaves_nothing_behind(tiny, one_device, tmp_path, stage, overrides, message):
    with pytest.raises(UserError, match=message):
        train(tiny(stage, **overrides), tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def test_a_dataset_made_with_another_codec(tiny, base_run, one_device, tmp_path):
    other = write_synthetic_dataset(tmp_path / "data", clips=4, latent_channels=8)
    with pytest.raises(UserError, match=r"codec\.latent_channels: dataset has 8, expected 4"):
        train(tiny("base", **{"data.dir": str(other), "init.transformer": str(base_run)}), tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def test_a_run_may_start_from_one_on_other_clips_where_the_config_says_so(tiny, base_run, one_device, tmp_path):
    data = write_synthetic_dataset(tmp_path / "data", clips=4, latent_channels=4)
    [metadata] = data.rglob("metadata.json")
    metadata.write_text(metadata.read_text().replace("c0", "c9"))
    settings = {"data.dir": str(data), "init.transformer": str(base_run), "num_train_steps": 1}
    field = "codec.weight_hash"
    with pytest.raises(UserError, match=rf"expected 'c0'; to go on from it all the same: .*may_differ={field}$"):
        train(tiny("base", **settings), tmp_path / "run", one_device)
    config = tiny("base", **settings, **{"init.may_differ": (field,)})
    train(config, tmp_path / "run", one_device)
    # What it was trained on is written down, and is what it goes on with.
    assert load_params(tmp_path / "run")[1]["provenance"]["codec"]["weight_hash"] == "c9"
    config.num_train_steps = 2
    train(config, tmp_path / "run", one_device)
    assert load_params(tmp_path / "run")[1]["step"] == 2


def test_a_resumed_run_goes_on_with_its_own_dataset_only(tiny, one_device, tmp_path):
    data, workdir = write_synthetic_dataset(tmp_path / "data", clips=6, latent_channels=4), tmp_path / "run"
    config = tiny("base", **{"data.dir": str(data), "num_train_steps": 1})
    train(config, workdir, one_device)
    config.num_train_steps = 2
    [metadata] = data.rglob("metadata.json")
    original = metadata.read_text()
    metadata.write_text(original.replace("c0", "c9"))
    with pytest.raises(UserError, match=r"does not fit the checkpoint in .*run: codec\.weight_hash: dataset has 'c9'"):
        train(config, workdir, one_device)
    shutil.rmtree(data)
    write_synthetic_dataset(data, clips=5, latent_channels=4)
    with pytest.raises(UserError, match=r"was started on other data than .*: it had 6 clips, now it has 5; name"):
        train(config, workdir, one_device)
    assert load_params(workdir)[1]["step"] == 1


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory):
    data = tmp_path_factory.mktemp("two_sizes")
    for name, width in (("16x16", 16), ("16x24", 24)):
        write_synthetic_dataset(data / name, clips=4, latent_channels=4, width=width)
    return data


def test_clips_of_several_sizes(tiny, two_sizes, one_device, tmp_path):
    config = tiny("base", **{"data.dir": str(two_sizes), "log_every": 1, "num_train_steps": 4})
    train(config, tmp_path / "run", one_device)
    meta = load_params(tmp_path / "run")[1]
    assert meta["provenance"]["clip"]["sizes"] == ["16x16", "16x24"] and meta["num_clips"] == [4, 4]
    # A run on one of the sizes may start from it.
    one = {"data.dir": str(two_sizes / "16x24"), "init.transformer": str(tmp_path / "run"), "num_train_steps": 1}
    train(tiny("base", **one), tmp_path / "next", one_device)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.use_learned_positional_embeddings": True},
            r"16x24 do not fit: the learned position table",
        ),
        ({"model.text_embed_dim": 10}, r"latents \(2, 4, 4, 4\), text \(4, 12\) and 8 numbers a"),
    ],
)
def test_records_that_do_not_fit_are_told_before_anything_is_written(
    tiny, two_sizes, one_device, tmp_path, changes, message
):
    with pytest.raises(UserError, match=message):
        train(tiny("base", **{"data.dir": str(two_sizes)} | changes), tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


def test_a_transformer_of_another_size(tiny, base_run, one_device, tmp_path):
    config = tiny("base", **{"init.transformer": str(base_run), "model.num_layers": 3})
    with pytest.raises(UserError, match=r"config\.model\.num_layers is 3, but the transformer in .* has 2"):
        train(config, tmp_path / "run", one_device)


def test_damaged_weights_leave_nothing_behind(tiny, base_run, one_device, tmp_path):
    shutil.copytree(base_run, tmp_path / "base")
    files = (tmp_path / "base" / "checkpoints" / "4" / "ema_params").rglob("d/*")
    for path in files:
        path.write_bytes(bytes(path.stat().st_size))
    config = tiny("base", **{"init.transformer": str(tmp_path / "base")})
    with pytest.raises(UserError, match=r"ema_params.* cannot be read \(.*\): the checkpoint is damaged"):
        train(config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.no_such_key=1"], "no_such_key"),
        (["--config=configs/nowhere.py"], "nowhere.py"),
        (["--config=configs/base.py:huge"], "unknown size 'huge'"),
        (["--no_such_flag"], "no_such_flag"),
    ],
)
def test_bad_flags_give_one_line_and_exit_code_2(flags, message, tmp_path):
    command = [sys.executable, "-m", "sr_jax.train", "--config=configs/base.py:tiny", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
