"""The program of a run says, without an array, what the run's arrays are."""

import jax
import pytest

from sr_jax.errors import UserError
from sr_jax.parallel.batches import to_global
from sr_jax.parallel.mesh import make_mesh
from sr_jax.training import builders
from sr_jax.training.loop import make_data, make_state
from sr_jax.training.program import abstract_batch, build_program, record_spec


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
    batch = to_global(next(make_data(config, mesh)), config.batch_size, mesh)
    described = abstract_batch(record_spec(config, noisy_images=2), config.batch_size, mesh)
    assert _described(described) == _described(batch)


def test_the_step_of_stage_two_is_described_without_any_workdir(tiny, stage_two, mesh):
    described = tiny("stage_two")
    configs = dict.fromkeys(("structure", "identity"), tiny("stage_one").to_dict())
    ours = build_program(described, mesh, builders.build_stage(described, configs))
    config = stage_two()
    theirs = build_program(config, mesh, builders.build_stage(config))
    assert _described(ours.frozen) == _described(theirs.frozen)
    batch = abstract_batch(record_spec(described, noisy_images=2), described.batch_size, mesh)
    lowered = [p.train_step.lower(p.state, p.frozen, batch).as_text() for p in (ours, theirs)]
    assert lowered[0] == lowered[1]


def test_a_batch_that_cannot_be_split(tiny, mesh):
    with pytest.raises(UserError, match=r"config\.batch_size is 6: it must be a multiple of data x fsdp = 4"):
        abstract_batch(record_spec(tiny("base"), noisy_images=2), 6, mesh)
