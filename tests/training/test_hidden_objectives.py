"""The objectives on hidden states in the training step, all at once and several of one kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.data.pipeline import train_batches
from sr_jax.errors import UserError
from sr_jax.parallel.mesh import make_mesh
from sr_jax.planning.operations import count_flops
from sr_jax.training import builders
from sr_jax.training.loop import train
from sr_jax.training.program import abstract_batch, build_program, record_spec
from tests.data.synthetic import write_synthetic_dataset
from tests.training.helpers import PLAIN, batch_loss

_TOKENS = {"tokens": "toy_tokens", "channels": 8, "grid": (2, 3)}
_SECTIONS = {
    "repa_1": {"objective": "repa", "block": 1, "projector_width": 6, **_TOKENS},
    "repa_2": {"objective": "repa", "block": 2, "projector": "conv", "spatial_norm": True, **_TOKENS},
    "trd": {"block": 1, "projector_width": 6, "margin": 0.0, "first_frame": "compared", **_TOKENS},
    "crepa": {"block": 1, **_TOKENS},
    "layersync": {"block": 1, "deeper_block": 2},
}
_PROJECTED = ("repa_1", "repa_2", "trd", "crepa")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records with tokens on a grid of 2x3, of as many channels as a face has numbers."""
    folder = tmp_path_factory.mktemp("tokens")
    return write_synthetic_dataset(folder, clips=4, latent_channels=4, more_fields={"toy_tokens": "t 2 3 e"})


@pytest.fixture(scope="module")
def aligned(tiny, data):
    """A function that makes a stage two of these objectives, without the paper's."""

    def make(**overrides):
        config = tiny("stage_two", **PLAIN, **overrides)
        config.data.dir = str(data)
        with config.unlocked():
            for name, section in _SECTIONS.items():
                config.alignment[name] = {"weight": 0.5, **section}
        return config

    return make


@pytest.fixture(scope="module")
def step(aligned, data):
    """`(params, share of each objective) -> (their sum, gradient)` on one batch, and parameters to start from."""
    stage = builders.build_stage(aligned())
    batch = next(train_batches(data, fields=tuple(stage.fields), batch_size=4, seed=0))
    batch = {name: jnp.asarray(value, jnp.float32) for name, value in batch.items()}
    frozen = {"empty_prompt": np.zeros((4, 12), np.float32)}

    def total(params, shares):
        _, metrics = batch_loss(stage)(params, frozen, batch, jax.random.key(3))
        return sum(share * metrics[f"loss/{name}"].compute() for name, share in zip(_SECTIONS, shares, strict=True))

    shapes = {name: network.abstract_params() for name, network in stage.modules.items()}
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.2 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    return jax.jit(jax.value_and_grad(total)), params


def _only(name):
    return np.asarray([other == name for other in _SECTIONS], np.float32)


@pytest.mark.parametrize("name", _SECTIONS)
def test_gradients_reach_the_transformer_and_the_own_projector_and_nothing_else(step, name):
    gradient = step[0](step[1], _only(name))[1]
    assert set(gradient) == {"transformer", *(f"{other}_projector" for other in _PROJECTED)}
    for other in _PROJECTED:
        leaves = jax.tree.leaves(gradient[f"{other}_projector"])
        assert all(np.any(leaf) == (other == name) for leaf in leaves), other
    first, second = (
        [np.any(leaf[block]) for leaf in jax.tree.leaves(gradient["transformer"]["transformer_blocks"])]
        for block in (0, 1)
    )
    # What is behind the tapped block gets nothing; of a layer that is drawn to a deeper one, the deeper one neither.
    assert sum(first) > len(first) / 2
    assert any(second) == (_SECTIONS[name]["block"] == 2)
    assert not np.any(gradient["transformer"]["proj_out"]["kernel"])


def test_they_are_planned_with_the_sizes_that_the_config_names(aligned):
    config = aligned(**{"model.num_layers": 6, "model.num_attention_heads": 4, "model.sample_height": 12})
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    program = build_program(config, mesh, builders.build_stage(config))
    records = record_spec(config, program.stage, noisy_images=1)
    assert records.array_shapes()["toy_tokens"] == (2, 2, 3, 8)
    batch = abstract_batch(records, program.stage, config.batch_size, mesh)
    counted = count_flops(program.train_step.trace(program.state, program.frozen, batch).jaxpr)
    work = program.stage.work(records.latent_shape[:3], records.text_shape[0])
    assert config.batch_size * work.flops == pytest.approx(counted, rel=0.03)


def test_tokens_of_other_channels_are_told_before_anything_runs(aligned, one_device, tmp_path):
    config = aligned()
    config.alignment.crepa.channels = 9
    words = r"the records in .* do not fit: toy_tokens has the shape \(2, 2, 3, 8\), but config\.alignment\.crepa reads"
    with pytest.raises(UserError, match=words):
        train(config, tmp_path / "run", one_device)
    config.alignment.crepa.update(channels=8, tokens="other_tokens")
    with pytest.raises(UserError, match=r"have no field 'other_tokens': prepare the videos again with the teacher"):
        train(config, tmp_path / "run", one_device)
    assert not (tmp_path / "run").exists()
