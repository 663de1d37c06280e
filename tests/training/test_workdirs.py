"""Which configs a workdir goes on with, and what is said of the others."""

import json
import logging
from unittest import mock

import pytest

from sr_jax.errors import UserError
from sr_jax.training import workdirs
from sr_jax.training.workdirs import check_config, write_config

RATE, SIZE = "optimizer.learning_rate", "batch_size"


@pytest.fixture
def begun(tiny, tmp_path):
    """A workdir that has a config and nothing else yet."""
    workdir = tmp_path / "run"
    write_config(tiny("stage_two"), workdir)
    return workdir


def _stored(workdir, change):
    """Changes the config that a workdir was started with."""
    path = workdir / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_change_is_refused_with_the_whole_difference_and_how_to_allow_it(tiny, begun):
    with pytest.raises(UserError) as refused:
        check_config(tiny("stage_two", **{RATE: 0.5, SIZE: 2}), begun)
    assert str(refused.value) == (
        f"{begun} was started with config.batch_size=4, now it is 2; config.optimizer.learning_rate=0.001, now it is "
        "0.5: use another --workdir, or the config it was started with; to go on with the change, "
        "--config.resume.allow=batch_size,optimizer.learning_rate"
    )
    with pytest.raises(UserError, match=r"optimizer\.learning_rate=0\.001, now .*allow=batch_size,optimizer\.learning"):
        check_config(tiny("stage_two", **{RATE: 0.5, SIZE: 2, "resume.allow": SIZE}), begun)
    with pytest.raises(UserError, match=r"model\.num_layers=2, now it is 3: .* the config it was started with$"):
        check_config(tiny("stage_two", **{"model.num_layers": 3, SIZE: 2}), begun)


def test_what_is_allowed_is_logged_with_its_difference(tiny, begun, caplog):
    changes = {RATE: 0.5, "optimizer.schedule": "cosine", "num_train_steps": 9, "log_every": 7}
    config = tiny("stage_two", **changes, **{"resume.allow": f"num_train_steps, {RATE},optimizer.schedule"})
    check_config(config, begun)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{begun} was started with config.num_train_steps=4, now it is 9; config.optimizer.learning_rate=0.001, now it "
        "is 0.5; config.optimizer.schedule='constant', now it is 'cosine'"
    ]
    # From then on it is the run's own.
    write_config(config, begun)
    config.resume.allow = ""
    check_config(config, begun)


@pytest.mark.parametrize("name", ["model.num_layers", "seed", "optimizer.name", "no_such_key", "data"])
def test_what_can_never_change_cannot_be_allowed(tiny, begun, name):
    with pytest.raises(UserError, match=f"config.resume.allow names '{name}', which no run can .*: choose from batch"):
        check_config(tiny("stage_two", **{"resume.allow": name}), begun)


def test_paths_are_no_part_of_what_a_run_is(tiny, begun):
    moved = {"data.dir": "elsewhere", "alignment.structure.module": "W1", "init.transformer": "W0"}
    _stored(begun, lambda values: values["alignment"]["structure"].update(module="old/W1"))
    _stored(begun, lambda values: values["init"].update(transformer="old/W0"))
    check_config(tiny("stage_two", **moved), begun)
    with pytest.raises(UserError, match=r"config\.init\.transformer='old/W0', now it is ''"):
        check_config(tiny("stage_two", **moved | {"init.transformer": ""}), begun)


def test_keys_of_a_later_version_are_told_and_taken(tiny, begun, caplog):
    def older(values):
        del values["resume"], values["frozen_dtype"], values["data"]["max_damaged"]
        del values["alignment"]["structure"]["module"]

    _stored(begun, older)
    check_config(tiny("stage_two"), begun)
    [line] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == (
        f"{begun} was started by a version without config.alignment.structure.module='', config.frozen_dtype='float32'"
    )


def test_a_run_whose_weight_decay_was_on_everything_goes_on_so_or_not_at_all(tiny, begun):
    _stored(begun, lambda values: values["optimizer"].pop("weight_decay_on"))
    with pytest.raises(UserError, match=r"optimizer\.weight_decay_on='all', now it is 'matrices'"):
        check_config(tiny("stage_two"), begun)
    check_config(tiny("stage_two", **{"optimizer.weight_decay_on": "all"}), begun)


def test_an_objective_that_was_not_there_is_no_key_of_a_later_version(tiny, begun):
    _stored(begun, lambda values: values["alignment"].pop("structure"))
    with pytest.raises(UserError, match=r"config\.alignment\.structure\.weight=None, now it is 0\.01"):
        check_config(tiny("stage_two"), begun)


def test_weights_that_say_nothing_of_time_are_constant(tiny, begun, caplog):
    def older(values):
        values["alignment"] = {
            name: {key: section[key] for key in ("weight", "module")} for name, section in values["alignment"].items()
        }

    _stored(begun, older)
    check_config(tiny("stage_two"), begun)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    with pytest.raises(UserError, match=r"config\.alignment\.identity\.off_after=0, now it is 3: use another"):
        check_config(tiny("stage_two", **{"alignment.identity.off_after": 3}), begun)


def test_options_of_objectives_left_out_are_their_defaults(tiny, begun):
    short, whole = tiny("stage_two"), tiny("stage_two")
    with short.unlocked(), whole.unlocked():
        short.alignment.deep = {"objective": "repa", "weight": 0.5}
        whole.alignment.deep = {"objective": "repa", "weight": 0.5, "block": 8, "grid": (16, 24), "spatial_norm": False}
    for started, now in ((short, whole), (whole, short)):
        write_config(started, begun)
        check_config(now, begun)
        changed = now.copy_and_resolve_references()
        with changed.unlocked():
            changed.alignment.deep.block = 20
        with pytest.raises(UserError, match=r"alignment\.deep\.block=8, now it is 20"):
            check_config(changed, begun)


def test_sizes_left_out_are_their_defaults(tiny, begun):
    config = tiny("stage_two")
    assert "use_learned_positional_embeddings" not in config.model
    config.model.use_learned_positional_embeddings = False
    check_config(config, begun)
    config.model.use_learned_positional_embeddings = True
    with pytest.raises(UserError, match=r"use_learned_positional_embeddings=False, now it is True"):
        check_config(config, begun)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}"])
def test_a_damaged_config_is_one_line(tiny, begun, text):
    (begun / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json cannot be read \(.*\): remove the folder$") as refused:
        check_config(tiny("stage_two"), begun)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_workdir_on_a_full_or_read_only_disk_is_one_line_and_nothing_is_left(tiny, tmp_path, monkeypatch, error):
    with monkeypatch.context() as full:
        full.setattr(workdirs, "write_text", mock.Mock(side_effect=error))
        with pytest.raises(UserError, match=rf"config\.json cannot be written \({error.strerror}\): choose another"):
            write_config(tiny("base"), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    check_config(tiny("base"), tmp_path / "run")
