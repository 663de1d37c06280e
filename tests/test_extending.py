"""The examples of docs/extending.md, in files of tests/ alone: prepare, train, resume, sample, score and plan."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from sr_jax.checkpoints.reading import open_params
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.configs import base, evaluate, sample, stage_one, stage_two
from sr_jax.data.pipeline import train_batches
from sr_jax.evaluation import judging
from sr_jax.generation.generator import generate_split, load_generator
from sr_jax.parallel.lazy import on_host
from sr_jax.planning.planner import plan
from sr_jax.planning.topologies import get_topology
from sr_jax.preparation import running
from sr_jax.training.loop import train
from tests.preparation import fakes
from tests.test_prepare import config as prepare_config
from tests.training.helpers import assert_same_bits

__all__ = ("prepare_config",)

_ROOT = Path(__file__).parents[1]
_SIZES = {"latent_channels": 16, "latent_size": (4, 8, 6), "text_shape": (24, 256)}
_OBJECTIVE = {"objective": "tests.toys.objective:build", "weight": 0.5}


def _toy(stage, **values):
    """A stage's own config, with the toy as its backbone."""
    config = stage.get_config("tiny")
    config.backbone = "tests.toys.backbone:Toy"
    with config.unlocked():
        for section, takes_image in (("model", True), ("structure", False)):
            del config[section]
            config[section] = _SIZES | {"takes_image": takes_image}
        config.structure.num_layers = 1
    config.identity.update(widths=(8,), blocks_per_stage=1, embedding_dim=6)
    config.update(batch_size=2, num_train_steps=4, checkpoint_every=2, log_every=2)
    config.optimizer.update(name="adamw", learning_rate=1e-2, warmup_steps=1, schedule="constant")
    config.update_from_flattened_dict(values)
    return config


@pytest.fixture(scope="module")
def data(prepare_config, tmp_path_factory):
    """A dataset with the toy teacher's field."""
    folder = tmp_path_factory.mktemp("toys")
    for name in ("train/a", "train/b", "train/c", "test/a", "test/b"):
        fakes.write_source(folder / "videos" / f"{name}.mp4", frames=13, size=(32, 24), prompt=f"this is {name}")
    config = prepare_config.copy_and_resolve_references()
    config.features = {"quarters": {"name": "tests.toys.teacher:Quarters"}}
    running.prepare(config, folder / "videos", folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def runs(data):
    """Workdirs of a base run, a stage one and a stage two with the paper's objectives and the toy's."""
    one_device, folder = jax.devices()[:1], data.parent
    train(_toy(base, **{"data.dir": str(data)}), folder / "base", one_device)
    start = {"data.dir": str(data), "init.transformer": str(folder / "base")}
    train(_toy(stage_one, **start), folder / "one", one_device)
    two = _toy(stage_two, **start)
    for name in ("structure", "identity"):
        two.alignment[name].module = str(folder / "one")
    with two.unlocked():
        two.alignment.toy = dict(_OBJECTIVE)
    # Stopped halfway, and resumed.
    two.num_train_steps = 2
    train(two, folder / "two", one_device)
    two.num_train_steps = 4
    state = train(two, folder / "two", one_device)
    train(two, folder / "whole", one_device)
    return {name: folder / name for name in ("base", "one", "two", "whole")} | {"config": two, "state": state}


def test_the_teachers_field_is_read_by_those_who_ask_for_it(data):
    batch = next(train_batches(data, fields=("toy_tokens",), batch_size=3, seed=0))
    assert {name: array.shape for name, array in batch.items()} == {"toy_tokens": (3, 4, 2, 2, 3)}


def test_a_resumed_run_is_one_that_never_stopped(runs):
    resumed, whole = (on_host(open_params(runs[name])[0]) for name in ("two", "whole"))
    assert_same_bits(resumed, whole)


def test_the_projector_is_trained_and_left_out_of_what_samples(runs):
    params, meta = open_params(runs["two"])
    assert set(params) == {"transformer", "toy_projector"} and meta["config"]["alignment"]["toy"]["weight"] == 0.5
    kernel = on_host(params)["toy_projector"]["kernel"]
    fresh, _ = open_params(runs["two"], step=2)
    assert kernel.shape == (16, 3) and not np.array_equal(kernel, on_host(fresh)["toy_projector"]["kernel"])
    transformer, _ = load_transformer(runs["two"])
    assert set(transformer) == {"proj_in", "blocks", "proj_out"}


def test_losses_are_logged_by_the_backbones_own_times(runs):
    from sr_jax.checkpoints.logs import read_metrics

    names = set().union(*read_metrics(runs["two"]))
    assert {"loss/denoising", "loss/structure", "loss/toy"} <= names
    assert any(name.startswith("loss/toy/t0.") for name in names)


def test_it_samples_and_is_scored(runs, data, prepare_config, tmp_path):
    config = sample.get_config("people")
    config.update(sampler="euler", num_inference_steps=3, batch_size=2)
    config.codec.path = prepare_config.codec.path
    generate_split(load_generator(runs["two"], config), data, "test", tmp_path / "samples", limit=None)
    scoring = evaluate.get_config("people")
    scoring.codec.path = prepare_config.codec.path
    scoring.metrics = ("psnr", "tests.toys.metric:Metric")
    results = judging.evaluate(
        scoring,
        generated=tmp_path / "samples",
        reference=data / "clips" / "test",
        output=tmp_path / "samples" / "metrics.json",
    )
    assert len(results.clips) == 2
    assert all(0 <= clip["generated"]["brightness_error"] < 100 for clip in results.clips)
    assert results.means["generated"]["brightness_error"] == pytest.approx(
        np.mean([clip["generated"]["brightness_error"] for clip in results.clips])
    )


def test_it_is_planned(runs):
    config = runs["config"].copy_and_resolve_references()
    config.batch_size = 8
    found = plan(config, get_topology("cpu:4"))
    assert found.compiled and found.frozen == ("structure", "identity") and found.num_heads == 1
    # The projector is trained too: 16 x 3 weights and 3 biases, split or not.
    assert found.memory.params > sum(leaf.nbytes for leaf in jax.tree.leaves(runs["state"].params["transformer"])) // 4
    assert found.work.flops > 0


@pytest.mark.parametrize("name", ["backbone", "objective", "teacher", "metric", "hook"])
def test_the_page_shows_these_files(name):
    page = (_ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert (_ROOT / "tests" / "toys" / f"{name}.py").read_text() in blocks
