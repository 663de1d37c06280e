"""The program of a run says, without an array, what the run's arrays are and where they live."""

import math
from pathlib import Path

import jax
import pytest

from sr_jax.errors import UserError
from sr_jax.parallel.batches import to_global
from sr_jax.parallel.mesh import make_mesh
from sr_jax.parallel.table import sharding_table
from sr_jax.training import builders
from sr_jax.training.loop import make_data, make_state
from sr_jax.training.program import abstract_batch, build_program, record_spec, shardings

_GOLDEN = Path(__file__).with_name("stage_two_shardings.txt")
# Elements of the largest arrays that may be whole on every device: biases, scales and what has no axis to split.
_SMALL = 64


def _described(tree):
    return [
        (jax.tree_util.keystr(path), leaf.shape, leaf.dtype, leaf.sharding)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@pytest.fixture(scope="module")
def mesh():
    return make_mesh({"data": 2, "fsdp": 2, "tensor": 2})


@pytest.mark.parametrize("stage", ["base", "stage_one"])
def test_the_state_is_as_described(tiny, mesh, stage):
    config = tiny(stage)
    program = build_program(config, mesh, builders.build_stage(config))
    assert _described(program.state) == _described(make_state(program, {}, config.seed))


def test_the_batch_is_as_described(tiny, mesh):
    config = tiny("base")
    stage = builders.build_stage(config)
    batch = to_global(next(make_data(config, mesh, stage)), config.batch_size, mesh)
    described = abstract_batch(record_spec(config, stage, noisy_images=2), stage, config.batch_size, mesh)
    assert _described(described) == _described(batch)


def test_the_step_of_stage_two_is_described_without_any_workdir(tiny, stage_two, mesh):
    described = tiny("stage_two")
    ours = build_program(described, mesh, builders.build_stage(described, tiny("stage_one").to_dict()))
    config = stage_two()
    theirs = build_program(config, mesh, builders.build_stage(config))
    assert _described(ours.frozen) == _described(theirs.frozen)
    batch = abstract_batch(record_spec(described, ours.stage, noisy_images=2), ours.stage, described.batch_size, mesh)
    lowered = [p.train_step.lower(p.state, p.frozen, batch).as_text() for p in (ours, theirs)]
    assert lowered[0] == lowered[1]


def test_a_batch_that_cannot_be_split(tiny, mesh):
    config = tiny("base")
    stage = builders.build_stage(config)
    with pytest.raises(UserError, match=r"config\.batch_size is 6: it must be a multiple of data x fsdp = 4"):
        abstract_batch(record_spec(config, stage, noisy_images=2), stage, 6, mesh)


@pytest.fixture(scope="module")
def split_program(tiny):
    """Stage two with its frozen modules, on a mesh that splits all that can be split."""
    config = tiny("stage_two")
    stage = builders.build_stage(config, tiny("stage_one").to_dict())
    return build_program(config, make_mesh({"fsdp": 2, "context": 2, "tensor": 2}), stage)


def test_every_parameter_lives_where_it_did(split_program, tmp_path):
    table = sharding_table(split_program.state.params | {"frozen": split_program.frozen}) + "\n"
    now = tmp_path / _GOLDEN.name
    now.write_text(table)
    assert table == _GOLDEN.read_text(), f"if every difference is meant: cp {now} {_GOLDEN}"


def test_the_average_and_the_moments_live_with_their_parameters(split_program):
    state = split_program.state
    adam, *others = state.opt_state[1]
    for copies in (state.ema_params, adam.mu, adam.nu):
        assert shardings(copies) == shardings(state.params)
    # All else are counters.
    assert all(leaf.shape == () for leaf in jax.tree.leaves((state.opt_state[0], adam.count, others)))


def test_nothing_but_small_arrays_is_whole_on_every_device(split_program):
    whole = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path((split_program.state, split_program.frozen))
        if math.prod(leaf.shape) > _SMALL and leaf.sharding.is_fully_replicated
    ]
    assert whole == []
