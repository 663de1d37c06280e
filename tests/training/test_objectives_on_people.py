"""A tiny run of each alignment objective on rendered people: it lowers its own loss on people never seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.data.pipeline import train_batches
from sr_jax.demo.people.clips import sample_clip
from sr_jax.demo.people.files import write_clip
from sr_jax.parallel.lazy import on_host
from sr_jax.preparation.framing import Size
from sr_jax.training import builders
from sr_jax.training.loop import train
from sr_jax.training.optimizers import make_optimizer
from sr_jax.training.state import TrainState, make_train_step
from tests.preparation import fakes
from tests.toys.teacher import Quarters
from tests.training.helpers import PLAIN

_CLIPS, _SIZE, _FPS = {"train": 16, "test": 8}, (16, 16), 8.0
_TOKENS = {"tokens": "toy_tokens", "channels": 3, "grid": (2, 2)}
_OBJECTIVES = {
    "structure": {"weight": 1.0},
    "identity": {"weight": 1.0},
    "repa": {"weight": 0.5, "block": 1, "projector_width": 16, **_TOKENS},
    "irepa": {"objective": "repa", "weight": 1.0, "block": 1, "projector": "conv", "spatial_norm": True, **_TOKENS},
    "trd": {"weight": 0.5, "block": 1, "projector_width": 16, "margin": 0.0, "first_frame": "compared", **_TOKENS},
    "crepa": {"weight": 0.5, "block": 1, **_TOKENS},
    "layersync": {"weight": 0.2, "block": 1, "deeper_block": 2},
}

# Parts of the loss at the start; a deeper block is nearly as another from the start on.
_LEAST_GAIN = dict.fromkeys(_OBJECTIVES, 0.05) | {"layersync": 0.001}
_STEPS = 60


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Rendered people with exact depth, as records; other teachers are the stand-ins of the tests of preparing."""
    folder = tmp_path_factory.mktemp("people")
    for split, count in _CLIPS.items():
        (folder / "videos" / split).mkdir(parents=True)
        for index in range(count):
            clip = sample_clip(index, split, size=_SIZE, num_frames=5, fps=_FPS)
            write_clip(folder / "videos" / split / f"{index}.mp4", clip, _FPS, {})
    teachers = fakes.depth() | {"toy": Quarters({})}
    fakes.make(
        folder / "videos", folder / "data", teachers=teachers, height=16, width=16, keep_clips=False,
        planning={"sizes": (Size(*_SIZE),)},
    )  # fmt: skip
    return folder / "data"


@pytest.fixture(scope="module")
def runs(tiny, people, one_device, tmp_path_factory):
    """A function that makes a config of these records, and a base run and a stage one of them."""

    def make(stage, **overrides):
        config = tiny(stage)
        sizes = {"out_channels": 3, "text_embed_dim": 2}
        config.model.update(sizes, in_channels=6)
        config.structure.update(sizes, in_channels=3)
        config.identity.update(latent_channels=3, embedding_dim=3)
        config.update_from_flattened_dict(
            {
                "data.dir": str(people),
                "batch_size": 8,
                "num_train_steps": _STEPS,
                "log_every": _STEPS,
                "checkpoint_every": _STEPS,
            }
            | overrides
        )
        return config

    folder = tmp_path_factory.mktemp("runs")
    base, modules = folder / "base", folder / "modules"
    train(make("base"), base, one_device)
    train(make("stage_one", **{"init.transformer": str(base)}), modules, one_device)
    start = {"init.transformer": str(base), "text_dropout": 0.0, "image_dropout": 0.0}
    start |= {f"alignment.{name}.module": str(modules) for name in ("structure", "identity")}
    return lambda **overrides: make("stage_two", **start, **PLAIN, **overrides)


def _batches(stage, people, split):
    found = train_batches(people, fields=tuple(stage.fields), batch_size=8, seed=0, split=split)
    return lambda: {field: jnp.asarray(value) for field, value in next(found).items()}


@pytest.mark.parametrize("name", _OBJECTIVES)
def test_a_run_lowers_its_own_loss_on_held_out_people(name, runs, people):
    config = runs()
    with config.unlocked():
        config.alignment[name] = {**config.alignment.get(name, {}), **_OBJECTIVES[name]}
    stage, optimizer = builders.build_stage(config), make_optimizer(config.optimizer, _STEPS)
    train_step = jax.jit(make_train_step(stage, optimizer, ema_decay=0.9, seed=0))
    frozen, held_out = on_host(builders.load_frozen(stage)), _batches(stage, people, "test")()
    batch = _batches(stage, people, "train")

    def own_loss(state):
        """On all held-out clips, with the noise and the times of the first eight steps; what they train is left."""
        lines = [train_step(state.replace(step=jnp.int32(step)), frozen, held_out)[1] for step in range(8)]
        return np.mean([line[f"loss/{name}"].compute() for line in lines])

    params = jax.jit(lambda key: builders.initial_params(stage, stage.start(), key))(jax.random.key(0))
    state = TrainState.create(params, optimizer, stage.running)
    before = own_loss(state)
    for _ in range(_STEPS):
        state, _ = train_step(state, frozen, batch())
    assert own_loss(state) < before - _LEAST_GAIN[name] * abs(before)
