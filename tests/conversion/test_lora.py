"""A LoRA trained here, in diffusers: beside the weights and fused into them."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax import traverse_util

from sr_jax.backbones.cogvideox import transformer_weights
from sr_jax.backbones.releases import import_pipeline
from sr_jax.checkpoints import transformers
from sr_jax.checkpoints.reading import item_path, read_meta
from sr_jax.configs import base
from sr_jax.conversion.importing import Source
from sr_jax.conversion.lora import WEIGHTS_FILE, lora_tensors, save_lora
from sr_jax.conversion.safetensors_file import read_header
from sr_jax.errors import UserError
from sr_jax.generation.generator import load_generator
from sr_jax.models.lora import AdaptedFunctional, LoraConfig, join, merge
from sr_jax.parallel.batches import to_first_device
from sr_jax.parallel.lazy import on_host
from sr_jax.parallel.placed import Placed
from sr_jax.parallel.stored import save_item
from sr_jax.training.loop import train
from tests.comparison import relative_error
from tests.conversion.folders import VARIANTS, contents, save_pipeline, stored_tensors, their_tensors
from tests.conversion.test_convert import run
from tests.data.synthetic import write_synthetic_dataset
from tests.evaluation.diffusers_video import IMAGE, PROMPT, SEED, diffusers_video, our_config
from tests.models.test_lora import ATTENTION, EVERYTHING, random_factors
from tests.models.tiny_transformers import Predictor, our_params, random_inputs, random_transformer_weights
from tests.models.tiny_vae import some_values
from tests.training.helpers import assert_same_bits, load_params

TARGETS = ("attn1", "ff.proj_in")


def our_module(config):
    return Predictor(config)


def random_batch(config):
    frames = config.sample_size[0] - config.sample_size[0] % (config.patch_size_t or 1)
    return random_inputs(config, 2, (frames, *config.sample_size[1:]))


@pytest.mark.parametrize(
    ("variant", "targets"),
    [
        ("5b", ATTENTION),
        ("5b", EVERYTHING),
        ("5b_i2v", ("ff", "proj_out")),
        ("1_5_5b_i2v", (*EVERYTHING, "ofs_embedding")),
    ],
)
def test_it_changes_diffusers_as_it_changes_ours(original, variant, targets):
    model_config, config = VARIANTS[variant], LoraConfig(3, 2.0, targets)
    batch = random_batch(model_config)
    params = our_params(random_transformer_weights(original, model_config), model_config)
    adapted = AdaptedFunctional(our_module(model_config), config)
    lora = random_factors(adapted)
    tensors = lora_tensors(lora, config, transformer_weights.rules(model_config))
    before, beside = original("lora").beside(dataclasses.asdict(model_config), tensors, *batch)
    ours = jax.jit(adapted.apply)(join(params, lora), *map(jnp.asarray, batch))[0]
    assert relative_error(ours, beside) < 1e-4
    change = beside - before
    assert relative_error(ours - before, change) < 1e-4
    assert np.abs(change).max() > 1e-2 * np.abs(before).max()


def check_fused(ours, fused):
    """Our merged tensors are those of diffusers, of which every fifth value is there."""
    assert ours.keys() == fused.keys()
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor.ravel()[::5], fused[name], atol=1e-6, err_msg=name)


def test_merged_is_what_diffusers_fuses(original):
    model_config, config = VARIANTS["5b"], LoraConfig(3, 2.0, EVERYTHING)
    params = our_params(random_transformer_weights(original, model_config), model_config)
    lora = random_factors(AdaptedFunctional(our_module(model_config), config))
    fused = original("lora").fused(
        dataclasses.asdict(model_config),
        lora_tensors(lora, config, transformer_weights.rules(model_config)),
    )
    merged = on_host(merge(params, lora, config))
    check_fused(their_tensors(merged, model_config), fused)
    before, factors, after = map(traverse_util.flatten_dict, (params, lora, merged))
    assert after.keys() == before.keys()
    for path, kernel in before.items():
        expected = kernel
        if (*path[:-1], "lora_a") in factors and path[-1] == "kernel":
            a, b = (np.asarray(factors[*path[:-1], name], np.float64) for name in ("lora_a", "lora_b"))
            expected = kernel + 2 / 3 * a @ b
            assert relative_error(kernel, expected) > 1e-2
        np.testing.assert_allclose(after[path], expected, atol=1e-6, err_msg=str(path))


@pytest.fixture(scope="module")
def lora_run(original, tmp_path_factory):
    """A pipeline of diffusers, our import of it, and the workdir of a LoRA trained on the import."""
    folder = tmp_path_factory.mktemp("lora")
    source = save_pipeline(original, folder / "theirs")
    import_pipeline(Source(source, "theirs"), folder / "ours")
    config = base.get_config("tiny")
    config.model.update(read_meta(folder / "ours")["config"]["model"])
    config.schedule.snr_shift_scale = 1.0
    config.optimizer.update(name="adamw", learning_rate=0.05, warmup_steps=0, schedule="constant")
    config.update(batch_size=4, num_train_steps=3, ema_decay=0.0)
    dataset = {"clips": 4, "frames": 9, "height": 32, "width": 48, "latent_channels": 4, "text_shape": (5, 10)}
    config.data.dir = str(write_synthetic_dataset(folder / "data", model=folder / "ours", **dataset))
    config.init.transformer = str(folder / "ours")
    config.lora.update(ml_collections.ConfigDict({"rank": 3, "alpha": 2.0, "targets": TARGETS}))
    train(config, folder / "run", jax.devices()[:1])
    return source, folder / "ours", folder / "run"


@pytest.fixture(scope="module")
def exported(lora_run):
    output = lora_run[2].parent / "lora"
    run("lora", "--checkpoint", lora_run[2], "--output", output)
    return output


@pytest.fixture(scope="module")
def merged(lora_run):
    output = lora_run[2].parent / "merged"
    run("merge", "--checkpoint", lora_run[2], "--output", output)
    return output


@pytest.fixture(scope="module")
def drawn_run(lora_run):
    """That run with random factors in place of the trained ones: exports of them have the same bits everywhere."""
    workdir = shutil.copytree(lora_run[2], lora_run[2].parent / "drawn_run")
    adapted = AdaptedFunctional(our_module(VARIANTS["5b_i2v"]), LoraConfig(3, 2.0, TARGETS))
    item = item_path(workdir)
    shutil.rmtree(item)
    save_item(item, "lora", random_factors(adapted))
    return workdir


@pytest.fixture(scope="module")
def drawn_lora(drawn_run):
    output = drawn_run.parent / "drawn_lora"
    run("lora", "--checkpoint", drawn_run, "--output", output)
    return output


def test_the_file_has_the_names_and_factors_of_peft(lora_run, exported):
    assert list(contents(exported)) == [WEIGHTS_FILE]
    tensors = stored_tensors(exported)
    name = "transformer.transformer_blocks.1.ff.net.0.proj.lora"
    assert tensors[f"{name}_A.weight"].shape == (3, 32)
    assert tensors[f"{name}_B.weight"].shape == (128, 3)
    layers = {key.split(".lora_")[0].split(".", 3)[3] for key in tensors}
    assert layers == {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj"}
    assert len(tensors) == 2 * 2 * 5
    trained = load_params(lora_run[2])[0]["lora"]["transformer_blocks"]["ff"]["proj_in"]
    assert trained["lora_b"].any(axis=(1, 2)).all()
    np.testing.assert_array_equal(tensors[f"{name}_A.weight"], trained["lora_a"][1].T)
    np.testing.assert_allclose(tensors[f"{name}_B.weight"], 2 / 3 * trained["lora_b"][1].T, rtol=1e-6)


def test_a_pipeline_loads_it(original, lora_run, drawn_run, drawn_lora, tmp_path):
    source, imported, _ = lora_run
    config, batch = VARIANTS["5b_i2v"], random_batch(VARIANTS["5b_i2v"])
    before, beside, fused = original("lora").in_pipeline(source, drawn_lora, *batch)
    params = on_host(transformers.load_transformer(drawn_run)[0])
    ours = np.asarray(jax.jit(our_module(config).apply)(params, *map(jnp.asarray, batch)))
    assert relative_error(ours - before, beside - before) < 1e-4
    assert relative_error(beside, before) > 1e-2

    run("merge", "--checkpoint", drawn_run, "--output", tmp_path / "merged")
    run("export", "--checkpoint", tmp_path / "merged", "--base", imported, "--output", tmp_path / "back")
    check_fused(stored_tensors(tmp_path / "back" / "transformer"), fused)
    # But for these values, every file is as diffusers saved it.
    theirs, back = contents(source), contents(tmp_path / "back")
    assert back.keys() == theirs.keys()
    for name in theirs:
        if name.startswith("transformer/") and name.endswith(".safetensors"):
            assert read_header(tmp_path / "back" / name) == read_header(source / name)
        else:
            assert back[name] == theirs[name]


def test_a_pipelines_video_changes_as_ours_does(original, lora_run, drawn_run, drawn_lora):
    source, imported, _ = lora_run
    before, beside = (
        diffusers_video(original, source, "ddim", 3, lora=lora, steps=4)[1] for lora in (None, drawn_lora)
    )
    config = our_config(sampler="ddim", dynamic_guidance="none", num_inference_steps=4)
    pipeline = load_generator(imported, config).pipeline
    other = Placed(transformers.load_transformer(drawn_run)[0], to_first_device)
    adapted = dataclasses.replace(pipeline, transformer=other)
    ours_before, ours = (p(IMAGE, PROMPT, seed=SEED) for p in (pipeline, adapted))
    assert relative_error(some_values(ours - ours_before), beside - before) < 1e-3
    assert relative_error(beside, before) > 1e-2


def test_merged_is_a_checkpoint_like_others(lora_run, merged):
    params, meta = transformers.load_transformer(merged)
    expected = transformers.load_transformer(lora_run[2])[0]
    assert_same_bits(on_host(params), on_host(expected))
    assert set(load_params(merged)[0]) == {"transformer"}
    assert meta["step"] == 3 and meta["stage"] == "base" and meta["config"]["lora"]["rank"] == 0


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine exists"):
        save_lora({}, tmp_path / "mine")
    # What an interrupted run left.
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "left").touch()
    save_lora({"transformer.x.lora_A.weight": np.ones((1, 2), np.float32)}, tmp_path / "new")
    assert list(contents(tmp_path / "new")) == [WEIGHTS_FILE]


def test_the_wrong_kind_of_checkpoint(lora_run, tmp_path):
    _, imported, workdir = lora_run
    for command in ("lora", "merge"):
        with pytest.raises(UserError, match="without a LoRA"):
            run(command, "--checkpoint", imported, "--output", tmp_path / "no")
    with pytest.raises(UserError, match="holds a LoRA: use lora instead of export"):
        run("export", "--checkpoint", workdir, "--output", tmp_path / "no")
    assert not any(tmp_path.iterdir())
