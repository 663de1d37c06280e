"""A LoRA trained here, in diffusers: beside the weights and fused into them."""

import dataclasses

import diffusers
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import torch

from configs import base
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.checkpoints import transformers
from sr_jax.checkpoints.reading import read_meta
from sr_jax.conversion.importing import Source, import_pipeline
from sr_jax.conversion.lora import WEIGHTS_FILE, lora_tensors, save_lora
from sr_jax.errors import UserError
from sr_jax.generation.generator import load_generator
from sr_jax.generation.sampler import clip_key
from sr_jax.models.functional import Functional
from sr_jax.models.lora import AdaptedFunctional, LoraConfig, join, merge
from sr_jax.parallel.batches import to_first_device
from sr_jax.parallel.lazy import on_host
from sr_jax.training.loop import train
from tests.conversion.folders import VARIANTS, contents, save_pipeline, stored_tensors
from tests.conversion.test_convert import run
from tests.data.synthetic import write_synthetic_dataset
from tests.evaluation.diffusers_video import IMAGE, PROMPT, SEED, diffusers_video, our_config
from tests.models.diffusers_twin import diffusers_model, our_params, run_diffusers
from tests.models.test_lora import ATTENTION, EVERYTHING, random_factors, relative_error
from tests.training.helpers import assert_same_bits, load_params

CONFIG = LoraConfig(rank=3, alpha=2.0, targets=ATTENTION)


def our_module(config):
    return Functional(lambda rngs: CogVideoXTransformer3D(config, rngs=rngs))


def random_batch(config):
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((2, *config.sample_size, config.in_channels), np.float32)
    text = rng.standard_normal((2, config.max_text_seq_length, config.text_embed_dim), np.float32)
    return latents, text, np.array([70, 900], np.int32)


def their_output(model, config, batch):
    with torch.no_grad():
        return run_diffusers(model, config, *map(torch.from_numpy, batch)).numpy()


def as_torch(tensors):
    return {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("variant", "targets"),
    [
        ("5b", ATTENTION),
        ("5b", EVERYTHING),
        ("5b_i2v", ("ff", "proj_out")),
        ("1_5_5b_i2v", (*EVERYTHING, "ofs_embedding")),
    ],
)
def test_it_changes_diffusers_as_it_changes_ours(variant, targets):
    model_config, config = VARIANTS[variant], LoraConfig(3, 2.0, targets)
    if variant == "1_5_5b_i2v":
        latents, text, timesteps = random_batch(model_config)
        batch = latents[:, :2], text, timesteps
    else:
        batch = random_batch(model_config)
    theirs = diffusers_model(model_config)
    module = our_module(model_config)
    params = our_params(theirs.state_dict(), model_config)
    adapted = AdaptedFunctional(module, config)
    lora = random_factors(adapted)
    before = their_output(theirs, model_config, batch)
    theirs.load_lora_adapter(as_torch(lora_tensors(lora, config, model_config)), prefix="transformer")
    beside = their_output(theirs, model_config, batch)
    ours = jax.jit(adapted.apply)(join(params, lora), *map(jnp.asarray, batch))
    assert relative_error(ours, beside) < 1e-4
    change = beside - before
    assert relative_error(ours - before, change) < 1e-4
    assert np.abs(change).max() > 1e-2 * np.abs(before).max()


def test_merged_is_what_diffusers_fuses():
    model_config, config = VARIANTS["5b"], LoraConfig(3, 2.0, EVERYTHING)
    theirs = diffusers_model(model_config)
    # Copied, because fusing writes into the same memory.
    params = jax.tree.map(np.copy, our_params(theirs.state_dict(), model_config))
    lora = random_factors(AdaptedFunctional(our_module(model_config), config))
    theirs.load_lora_adapter(as_torch(lora_tensors(lora, config, model_config)), prefix="transformer")
    theirs.fuse_lora()
    theirs.unload_lora()
    fused = our_params(theirs.state_dict(), model_config)
    merged = on_host(merge(params, lora, config))
    for (path, ours), expected in zip(jax.tree_util.tree_leaves_with_path(merged), jax.tree.leaves(fused), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6, err_msg=jax.tree_util.keystr(path))
    assert relative_error(merged["proj_out"]["kernel"], jnp.asarray(params["proj_out"]["kernel"])) > 1e-2


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    """A pipeline of diffusers, our import of it, and the workdir of a LoRA trained on the import."""
    folder = tmp_path_factory.mktemp("lora")
    source = save_pipeline(folder / "theirs")
    import_pipeline(Source(source, "theirs"), folder / "ours")
    config = base.get_config("tiny")
    config.model.update(read_meta(folder / "ours")["config"]["model"])
    config.optimizer.update(name="adamw", learning_rate=0.05, warmup_steps=0, schedule="constant")
    config.update(batch_size=4, num_train_steps=3, ema_decay=0.0)
    dataset = {"clips": 4, "frames": 9, "height": 32, "width": 48, "latent_channels": 4, "text_shape": (5, 10)}
    config.data.dir = str(write_synthetic_dataset(folder / "data", **dataset))
    config.init.transformer = str(folder / "ours")
    config.lora.update(ml_collections.ConfigDict({"rank": 3, "alpha": 2.0, "targets": ("attn1", "ff.proj_in")}))
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


def test_the_file_has_the_names_of_peft(exported):
    assert list(contents(exported)) == [WEIGHTS_FILE]
    tensors = stored_tensors(exported)
    name = "transformer.transformer_blocks.1.ff.net.0.proj.lora"
    assert tensors[f"{name}_A.weight"].shape == (3, 32)
    assert tensors[f"{name}_B.weight"].shape == (128, 3)
    layers = {key.split(".lora_")[0].split(".", 3)[3] for key in tensors}
    assert layers == {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj"}
    assert len(tensors) == 2 * 2 * 5


def test_a_pipeline_loads_it(lora_run, exported, merged, tmp_path):
    source, imported, workdir = lora_run
    pipeline = diffusers.CogVideoXImageToVideoPipeline.from_pretrained(source)
    config, batch = VARIANTS["5b_i2v"], random_batch(VARIANTS["5b_i2v"])
    before = their_output(pipeline.transformer, config, batch)
    pipeline.load_lora_weights(exported)
    beside = their_output(pipeline.transformer, config, batch)
    params = on_host(transformers.load_transformer(workdir)[0])
    ours = np.asarray(jax.jit(our_module(config).apply)(params, *map(jnp.asarray, batch)))
    assert relative_error(ours - before, beside - before) < 1e-4
    assert np.abs(beside - before).max() > 1e-2 * np.abs(before).max()

    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    run("export", "--checkpoint", merged, "--base", imported, "--output", tmp_path / "back")
    back = diffusers.CogVideoXImageToVideoPipeline.from_pretrained(tmp_path / "back").transformer.state_dict()
    fused = pipeline.transformer.state_dict()
    assert back.keys() == fused.keys()
    for name, tensor in fused.items():
        np.testing.assert_allclose(back[name].numpy(), tensor.numpy(), atol=1e-6, err_msg=name)


def test_a_pipelines_video_changes_as_ours_does(lora_run, exported, monkeypatch):
    source, imported, workdir = lora_run
    key = clip_key(SEED, PROMPT)
    before, beside = (
        diffusers_video(source, monkeypatch, key, "ddim", 3, lora=lora, steps=4, guidance_scale=6.0)[1]
        for lora in (None, exported)
    )
    config = our_config(sampler="ddim", dynamic_guidance="none", num_inference_steps=4)
    pipeline = load_generator(imported, config).pipeline
    adapted = dataclasses.replace(pipeline, params=to_first_device(transformers.load_transformer(workdir)[0]))
    ours_before, ours = (p(IMAGE, PROMPT, seed=SEED) for p in (pipeline, adapted))
    assert relative_error(ours - ours_before, beside - before) < 1e-3
    assert np.abs(beside - before).max() > 1e-2 * np.abs(before).max()


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
