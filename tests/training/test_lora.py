"""Training low-rank factors: what is trained, what stays, resuming, sampling and bad input."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import PartitionSpec as P

from sr_jax.checkpoints.networks import backbone_of
from sr_jax.checkpoints.reading import item_path, read_meta
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.conversion.lora import WEIGHTS_FILE
from sr_jax.data.pipeline import train_batches
from sr_jax.errors import UserError
from sr_jax.models.lora import LoraConfig, join, merge
from sr_jax.parallel.lazy import on_host
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.stored import save_item
from sr_jax.training import builders
from sr_jax.training.loop import train
from sr_jax.training.optimizers import make_optimizer
from sr_jax.training.program import build_program
from sr_jax.training.state import TrainState, make_train_step
from tests.conversion.test_convert import run
from tests.models.tiny_transformers import Predictor, our_params, random_inputs, random_transformer_weights
from tests.training.helpers import LORA, PLAIN, assert_close, assert_same_bits, batch_loss, load_params

CONFIG = LoraConfig(2, 4.0, ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out"))


@pytest.fixture(scope="module")
def batch(dataset):
    return {name: jnp.asarray(value) for name, value in next(train_batches(dataset, batch_size=4, seed=0)).items()}


def without_alignment(stage_two, **overrides):
    return stage_two(**PLAIN, **LORA, **overrides)


def test_fresh_factors_have_the_loss_of_the_frozen_transformer(stage_two, batch):
    config = stage_two(**LORA)
    stage = builders.build_stage(config)
    frozen = on_host(builders.load_frozen(stage))
    params = builders.initial_params(stage, stage.start(), jax.random.key(0))
    whole = stage_two()
    plain = builders.build_stage(whole)
    started = builders.initial_params(plain, plain.start(), jax.random.key(0))
    assert_same_bits(frozen["transformer"], started["transformer"])
    ours, theirs = (
        jax.jit(batch_loss(s))(p, frozen, batch, jax.random.key(5))[1] for s, p in ((stage, params), (plain, started))
    )
    assert ours.keys() == theirs.keys()
    assert_close(ours, theirs, rtol=1e-5)
    assert "loss/identity" in ours


def test_a_step_changes_the_factors_and_nothing_else(stage_two, batch):
    config = without_alignment(stage_two)
    stage = builders.build_stage(config)
    frozen = on_host(builders.load_frozen(stage))
    optimizer = make_optimizer(config.optimizer, 4)
    params = builders.initial_params(stage, stage.start(), jax.random.key(0))
    state = TrainState.create(params, optimizer)
    before = jax.tree.map(np.copy, frozen)
    step = jax.jit(make_train_step(stage, optimizer, ema_decay=0.5, seed=0))
    frozen = jax.device_put(frozen)
    for _ in range(3):
        state, _ = step(state, frozen, batch)
    assert_same_bits(jax.device_get(frozen), before)
    assert jax.tree.structure(state.params) == jax.tree.structure(state.ema_params) == jax.tree.structure(params)
    # The optimizer too holds two moments of the factors and no others.
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim) == 2 * count
    assert all(np.all(a != b) for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(params)))


def test_a_checkpoint_holds_the_factors_alone(lora_run):
    for item in ("params", "ema_params"):
        params = load_params(lora_run, item=item)[0]
        assert set(params) == {"lora"}
        attention = params["lora"]["transformer_blocks"]["attn1"]
        assert set(attention) == {"to_q", "to_k", "to_v", "to_out"}
        assert {name: leaf.shape for name, leaf in attention["to_q"].items()} == {
            "lora_a": (2, 32, 2),
            "lora_b": (2, 2, 32),
        }
        assert all(np.any(leaf) for leaf in jax.tree.leaves(params))


def test_loading_merges(lora_run, base_run):
    merged, meta = load_transformer(lora_run)
    lora, base = load_params(lora_run)[0]["lora"], load_params(base_run)[0]["transformer"]
    merged = on_host(merged)
    assert_same_bits(merged, on_host(merge(base, lora, CONFIG)))
    assert np.any(
        merged["transformer_blocks"]["attn1"]["to_v"]["kernel"] != base["transformer_blocks"]["attn1"]["to_v"]["kernel"]
    )
    assert meta["stage"] == "stage_two" and meta["frozen_steps"]["transformer"] == 4


def test_a_resumed_run_ends_like_a_run_in_one(lora_run, stage_two, one_device, tmp_path):
    train(stage_two(num_train_steps=2, **LORA), tmp_path / "run", one_device)
    train(stage_two(**LORA), tmp_path / "run", one_device)
    for item in ("params", "ema_params"):
        assert_same_bits(load_params(tmp_path / "run", item=item)[0], load_params(lora_run, item=item)[0])


def test_on_a_mesh_it_trains_the_same(lora_run, stage_two, tmp_path):
    config = stage_two(**LORA, **{"mesh.fsdp": 2, "mesh.tensor": 2})
    state = train(config, tmp_path / "run", jax.devices()[:4])
    assert_close(
        load_params(tmp_path / "run", item="params")[0], load_params(lora_run, item="params")[0], rtol=0, atol=2e-3
    )
    factors = state.params["lora"]["transformer_blocks"]["attn1"]["to_q"]
    assert not factors["lora_a"].sharding.is_fully_replicated
    assert not factors["lora_b"].sharding.is_fully_replicated


def test_factors_of_stage_two_change_the_model_of_diffusers_as_ours(original, lora_run, tmp_path):
    """With random numbers in the run's checkpoint, the same on every machine, and on random weights."""
    workdir = shutil.copytree(lora_run, tmp_path / "run")
    rng = np.random.default_rng(0)
    trained = load_params(workdir)[0]["lora"]
    factors = jax.tree.map(lambda leaf: rng.uniform(-0.5, 0.5, leaf.shape).astype(np.float32), trained)
    shutil.rmtree(item_path(workdir))
    save_item(item_path(workdir), "lora", factors)
    run("lora", "--checkpoint", workdir, "--output", tmp_path / "lora")

    config = backbone_of(read_meta(workdir)["config"]).config
    options = dataclasses.asdict(config)
    inputs = random_inputs(config, 2, config.sample_size, text_length=config.max_text_seq_length)
    before = original("transformer").forward(options, 0, *inputs)
    beside = original("transformer").forward_with_lora(options, 0, tmp_path / "lora" / WEIGHTS_FILE, *inputs)
    params = our_params(random_transformer_weights(original, config), config)
    apply = jax.jit(Predictor(config).apply)
    change = np.asarray(apply(on_host(merge(params, factors, CONFIG)), *inputs) - apply(params, *inputs))
    expected = beside - before
    assert np.abs(change - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(expected).max() > 1e-2 * np.abs(before).max()


def test_what_is_frozen_is_split_over_a_mesh_as_if_it_were_trained(stage_two):
    config = stage_two(**LORA)
    mesh = make_mesh({"fsdp": 2, "tensor": 2}, jax.devices()[:4])
    frozen = build_program(config, mesh, builders.build_stage(config)).frozen
    assert jax.tree.structure(frozen) == jax.tree.structure(builders.load_frozen(builders.build_stage(config)))
    for transformer in (frozen["transformer"], frozen["structure"]["transformer"]):
        kernel = transformer["transformer_blocks"]["ff"]["proj_in"]["kernel"]
        assert kernel.sharding.spec == P(None, "fsdp", "tensor")


def test_plain_fine_tuning_and_another_optimizer(stage_two, one_device, tmp_path):
    config = without_alignment(stage_two, **{"optimizer.name": "muon"})
    config.alignment.structure.module = config.alignment.identity.module = ""
    state = train(config, tmp_path / "run", one_device)
    assert set(state.params) == {"lora"}
    assert np.any(state.params["lora"]["transformer_blocks"]["attn1"]["to_q"]["lora_b"])


def test_a_run_starts_from_an_adapted_transformer(lora_run, tiny):
    config = tiny("base", **{"init.transformer": str(lora_run)})
    stage = builders.build_stage(config)
    started = builders.initial_params(stage, stage.start(), jax.random.key(0))
    assert_same_bits(jax.device_get(started["transformer"]), on_host(load_transformer(lora_run)[0]))


def test_factors_fit_the_checkpoint_that_they_were_trained_on(lora_run, tiny, stage_two, one_device, tmp_path):
    """The base run goes on: what was trained on its older checkpoint samples and resumes with that as long as it is."""
    base = tmp_path / "base"
    train(tiny("base", num_train_steps=2), base, one_device)
    config = without_alignment(stage_two, num_train_steps=2)
    config.init.transformer = str(base)
    train(config, tmp_path / "run", one_device)
    merged = on_host(load_transformer(tmp_path / "run")[0])
    train(tiny("base", num_train_steps=4), base, one_device)
    assert_same_bits(on_host(load_transformer(tmp_path / "run")[0]), merged)
    config.num_train_steps = 3
    train(config, tmp_path / "run", one_device)
    factors = load_params(tmp_path / "run")[0]["lora"]
    assert_same_bits(
        on_host(load_transformer(tmp_path / "run")[0]),
        on_host(merge(load_params(base, step=2)[0]["transformer"], factors, CONFIG)),
    )
    train(tiny("base", num_train_steps=8), base, one_device)
    config.num_train_steps = 4
    with pytest.raises(UserError, match=r"a frozen transformer that is none of the checkpoints in .*base: name the"):
        train(config, tmp_path / "run", one_device)
    with pytest.raises(UserError, match=r"run adapts the transformer that was in .*base at step 2, which is not in"):
        load_transformer(tmp_path / "run")


@pytest.mark.parametrize(
    ("stage", "overrides", "words"),
    [
        ("base", {"lora.rank": -1}, r"config\.lora\.rank is -1"),
        ("stage_one", {"lora.rank": 2}, "stage one trains no transformer"),
        ("base", {"lora.rank": 2, "lora.targets": ("to_w",)}, "to_w names no linear layer"),
    ],
)
def test_bad_options_are_refused(tiny, stage, overrides, words):
    with pytest.raises(UserError, match=words):
        builders.build_stage(tiny(stage, **overrides))


def test_factors_of_another_model_are_refused(stage_two):
    config = stage_two(**LORA, **{"model.num_layers": 3})
    with pytest.raises(UserError, match=r"config\.model\.num_layers is 3"):
        builders.load_frozen(builders.build_stage(config))


@pytest.fixture(scope="module")
def exported(lora_run, tmp_path_factory):
    """Its LoRA as files, by layout."""
    folder = tmp_path_factory.mktemp("exported")
    for layout in ("diffusers", "comfyui"):
        run("lora", "--checkpoint", lora_run, "--output", folder / layout, "--layout", layout)
    return folder


@pytest.mark.parametrize("layout", ["diffusers", "comfyui"])
def test_the_factors_of_a_file_are_trained_further(lora_run, exported, stage_two, layout):
    """At another alpha the factors are others, and what they add is the same."""
    overrides = {"lora.alpha": 1.0, "init.lora": str(exported / layout)}
    started = builders.build_stage(stage_two(**PLAIN, **LORA | overrides)).start()
    trained = {"lora": load_params(lora_run)[0]["lora"]}
    assert jax.tree.structure(started) == jax.tree.structure(trained)
    for name, then in trained["lora"]["transformer_blocks"]["attn1"].items():
        now = started["lora"]["transformer_blocks"]["attn1"][name]
        np.testing.assert_array_equal(now["lora_a"], then["lora_a"])
        np.testing.assert_allclose(1.0 / 2 * now["lora_b"], 4.0 / 2 * then["lora_b"], rtol=1e-6)
        assert np.any(then["lora_b"])


def test_a_file_that_cannot_be_trained_further_is_refused(exported, stage_two, tmp_path):
    def start(file=exported / "diffusers", **overrides):
        return builders.build_stage(stage_two(**PLAIN, **LORA | {"init.lora": str(file)} | overrides)).start()

    with pytest.raises(UserError, match=r"config\.lora\.rank is 3, but .*diffusers has 2: set it to that"):
        start(**{"lora.rank": 3})
    with pytest.raises(UserError, match=r"config\.lora\.targets to its own, which are attn1\.to_k, attn1\.to_out"):
        start(**{"lora.targets": ("ff",)})
    with pytest.raises(UserError, match=r"config\.init\.lora is .*, but config\.lora\.rank is 0"):
        start(**{"lora.rank": 0})
    tensors = safetensors.numpy.load_file(exported / "diffusers" / WEIGHTS_FILE)
    only = {name: tensor for name, tensor in tensors.items() if "blocks.0.attn1.to_q" not in name}
    safetensors.numpy.save_file(only, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"lacks factors, .* some blocks of transformer_blocks\.attn1\.to_q: it can be"):
        start(tmp_path / "part.safetensors")


def test_the_whole_is_one_tree(lora_run, base_run):
    lora, base = load_params(lora_run)[0]["lora"], load_params(base_run)[0]["transformer"]
    whole = join(base, lora)
    assert set(whole["transformer_blocks"]["attn1"]["to_q"]) == {"kernel", "bias", "lora_a", "lora_b"}
    assert set(whole["transformer_blocks"]["ff"]["proj_in"]) == {"kernel", "bias"}
