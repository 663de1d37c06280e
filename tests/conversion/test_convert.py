"""The command, and training from what it writes."""

import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from sr_jax import command_line, convert
from sr_jax.checkpoints.networks import backbone_of
from sr_jax.checkpoints.reading import read_meta
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.configs import base, stage_one, stage_two_all
from sr_jax.errors import UserError
from sr_jax.training import builders
from sr_jax.training.loop import train
from tests.comparison import relative_error
from tests.conversion.folders import VARIANTS, contents, stored_tensors, their_tensors
from tests.models.tiny_transformers import Predictor, random_inputs
from tests.training.helpers import load_params


def run(*argv: str) -> None:
    """Runs the command in this process."""
    main, flag_values, rest = convert.choose(["convert", *map(str, argv)])
    flag_values.unparse_flags()
    command_line.parse(flag_values, rest)
    main(flag_values)


def test_there_and_back(tmp_path, pipeline, capsys):
    run("import", "--source", pipeline, "--output", tmp_path / "ours")
    run("export", "--checkpoint", tmp_path / "ours", "--output", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(pipeline)
    assert "text_encoder: 100%" in capsys.readouterr().err


def test_help_and_bad_input(tmp_path):
    command = [sys.executable, "-m", "sr_jax.convert"]
    done = subprocess.run([*command, "import", "--help"], capture_output=True, text=True, check=True)
    assert "--source THUDM/CogVideoX-5b-I2V" in done.stdout and "--components" in done.stdout
    done = subprocess.run(
        [*command, "import", f"--source={tmp_path}", f"--output={tmp_path}/x"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("argv", [[], ["--source=x"], ["convert"]])
def test_without_a_command(argv):
    with pytest.raises(UserError, match="import or export"):
        run(*argv)


def test_a_folder_of_diffusers_is_to_be_imported_first(tmp_path, pipeline):
    hint = r"is a folder of diffusers, no checkpoint: import it with python -m sr_jax\.convert import --source"
    for folder in (pipeline, pipeline / "transformer", pipeline / "text_encoder"):
        with pytest.raises(UserError, match=hint):
            run("export", "--checkpoint", folder, "--output", tmp_path / "back")
        with pytest.raises(UserError, match=hint):
            load_transformer(folder)
    # The workdir of a run that has just begun holds a config, too.
    (tmp_path / "config.json").write_text('{"stage": "base"}')
    with pytest.raises(UserError, match="holds no checkpoints: name the workdir of a training run, or a model that"):
        run("export", "--checkpoint", tmp_path, "--output", tmp_path / "back")


@pytest.fixture
def config(dataset, imported):
    """The base stage, from the import."""
    config = base.get_config("tiny")
    config.model.update(read_meta(imported)["config"]["model"])
    config.schedule.snr_shift_scale = 1.0
    config.optimizer.update(name="adamw", learning_rate=1e-2, warmup_steps=0, schedule="constant")
    config.update(batch_size=4, num_train_steps=2, ema_decay=0.0)
    config.data.dir = str(dataset)
    config.init.transformer = str(imported)
    return config


def starting_params(config):
    stage = builders.build_stage(config)
    return builders.initial_params(stage, stage.start(), jax.random.key(0))


def test_training_starts_from_an_import(config, pipeline):
    params = starting_params(config)["transformer"]
    theirs = stored_tensors(pipeline / "transformer")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    kernel = params["transformer_blocks"]["ff"]["proj_in"]["kernel"]
    assert np.array_equal(kernel[1], theirs["transformer_blocks.1.ff.net.0.proj.weight"].T)
    # The table that diffusers makes is float64.
    table = theirs["patch_embed.pos_embedding"][0]
    assert table.dtype == np.float64
    assert np.array_equal(params["patch_embed"]["pos_embedding"], table.astype(np.float32))


def test_the_structure_module_starts_from_an_import(config, imported, pipeline):
    one = stage_one.get_config("tiny")
    one.model.update(config.model)
    one.structure.update(config.model, in_channels=4, num_layers=1, use_learned_positional_embeddings=False)
    one.identity.update(latent_channels=4, widths=(8,), blocks_per_stage=1, embedding_dim=8)
    one.init.transformer = str(imported)
    params = starting_params(one)["structure"]["transformer"]
    theirs = stored_tensors(pipeline / "transformer")["patch_embed.proj.weight"]
    assert np.array_equal(params["patch_embed"]["proj"]["kernel"], theirs[:, :4].reshape(len(theirs), -1).T)


def test_a_trained_transformer_goes_to_diffusers(config, pipeline, imported, tmp_path):
    train(config, tmp_path / "run", jax.devices()[:1])
    options = ("--base", imported, "--output", tmp_path / "back")
    run("export", "--checkpoint", tmp_path / "run", *options)
    trained = their_tensors(load_params(tmp_path / "run")[0]["transformer"], VARIANTS["5b_i2v"])
    exported = stored_tensors(tmp_path / "back" / "transformer")
    assert exported.keys() == trained.keys()
    for name, before in stored_tensors(pipeline / "transformer").items():
        np.testing.assert_array_equal(exported[name], trained[name], err_msg=name)
        assert (exported[name] != before).any(), name
    # All else is the base's, and the division into files too.
    before, after = contents(pipeline), contents(tmp_path / "back")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert all(name.startswith("transformer/diffusion_pytorch_model") for name in changed)
    with pytest.raises(UserError, match="is an import"):
        run("export", "--checkpoint", imported, "--base", imported, "--output", tmp_path / "no")


def test_projectors_are_in_no_export(original, config, pipeline, imported, tmp_path):
    two = stage_two_all.get_config("tiny")
    two.update({name: config[name] for name in ("model", "schedule", "data", "init", "batch_size")}, num_train_steps=0)
    for name in ("repa", "trd", "crepa"):
        two.alignment[name].update(weight=0.5, channels=4)
    two.alignment.layersync.update(weight=0.5, deeper_block=2)
    train(two, tmp_path / "run", jax.devices()[:1])
    projectors = {f"{name}_projector" for name in ("repa", "trd", "crepa")}
    assert load_params(tmp_path / "run")[0].keys() == {"transformer"} | projectors
    run("export", "--checkpoint", tmp_path / "run", "--base", imported, "--output", tmp_path / "back")
    before, after = (stored_tensors(folder / "transformer") for folder in (pipeline, tmp_path / "back"))
    assert {name: tensor.shape for name, tensor in after.items()} == {name: t.shape for name, t in before.items()}
    assert contents(pipeline).keys() == contents(tmp_path / "back").keys()
    inputs = random_inputs(VARIANTS["5b_i2v"], 1, VARIANTS["5b_i2v"].sample_size)
    base, back = (
        original("folders").predict(folder / "transformer", *inputs) for folder in (pipeline, tmp_path / "back")
    )
    np.testing.assert_array_equal(back, base)


def test_an_exported_transformer_computes_in_diffusers_as_here(original, config, pipeline, imported, tmp_path):
    # A run of no steps from other weights than the base's, so that what is exported has the same bits everywhere.
    other = shutil.copytree(pipeline / "transformer", tmp_path / "other")
    for path in other.glob("*.safetensors"):
        turned = {name: np.flip(tensor, 0).copy() for name, tensor in safetensors.numpy.load_file(path).items()}
        safetensors.numpy.save_file(turned, path, metadata={"format": "pt"})
    run("import", "--source", other, "--output", tmp_path / "ours")
    config.num_train_steps, config.init.transformer = 0, str(tmp_path / "ours")
    train(config, tmp_path / "run", jax.devices()[:1])
    run("export", "--checkpoint", tmp_path / "run", "--base", imported, "--output", tmp_path / "back")
    inputs = random_inputs(VARIANTS["5b_i2v"], 1, VARIANTS["5b_i2v"].sample_size)
    module = Predictor(backbone_of(config.to_dict()).config)
    params = load_params(tmp_path / "run")[0]["transformer"]
    ours = jax.jit(module.apply)(params, *map(jnp.asarray, inputs))
    theirs, base = (
        original("folders").predict(folder / "transformer", *inputs) for folder in (tmp_path / "back", pipeline)
    )
    assert relative_error(ours, theirs) < 1e-4
    assert relative_error(base, theirs) > 1e-2


def test_a_trained_transformer_alone(original, config, tmp_path):
    config.num_train_steps = 0
    config.init.position_table = "drop"
    config.model.use_learned_positional_embeddings = False
    train(config, tmp_path / "run", jax.devices()[:1])
    run("export", "--checkpoint", tmp_path / "run", "--output", tmp_path / "back", "--dtype", "bfloat16")
    assert {path.name for path in (tmp_path / "back").rglob("*") if path.is_file()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
    }
    names, _ = original("folders").load_transformer(tmp_path / "back" / "transformer", [])
    assert names == sorted(stored_tensors(tmp_path / "back" / "transformer"))
    assert "patch_embed.pos_embedding" not in names


@pytest.mark.parametrize(
    ("changes", "how", "words"),
    [
        ({"sample_frames": 17}, "keep", "position_table=drop"),
        ({"sample_frames": 17}, "shorten", "position_table is 'shorten'"),
        ({"num_layers": 3}, "keep", "config.model.num_layers is 3"),
        ({}, "drop", "config.model.use_learned_positional_embeddings is True"),
        ({"sample_width": 13}, "interpolate", "not whole patches"),
    ],
)
def test_another_model_is_refused(config, changes, how, words):
    config.model.update(changes)
    config.init.position_table = how
    with pytest.raises(UserError, match=words):
        starting_params(config)


def test_another_size_of_video(config):
    config.model.update(sample_frames=17, sample_height=12, sample_width=8)
    config.init.position_table = "interpolate"
    assert starting_params(config)["transformer"]["patch_embed"]["pos_embedding"].shape == (5 + 5 * 6 * 4, 32)
