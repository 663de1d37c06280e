"""Memory by kind, of a program that the compiler took and of one that it refused."""

from types import SimpleNamespace

import jax
import pytest

from sr_jax.parallel.mesh import make_mesh
from sr_jax.planning.memory import compiled_memory, refused_memory
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec


@pytest.fixture(scope="module")
def program_and_batch(tiny):
    config = tiny("base")
    mesh = make_mesh({"fsdp": 2}, jax.devices()[:2])
    program = build_program(config, mesh, builders.build_stage(config))
    return program, abstract_batch(
        record_spec(config, program.stage, noisy_images=2), program.stage, config.batch_size, mesh
    )


def test_kinds(program_and_batch):
    program, batch = program_and_batch
    stats = SimpleNamespace(
        argument_size_in_bytes=10**9,
        temp_size_in_bytes=7,
        output_size_in_bytes=20,
        alias_size_in_bytes=15,
        generated_code_size_in_bytes=3,
    )
    memory = compiled_memory(program, batch, stats)
    held = sum(leaf.size // leaf.sharding.num_devices * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
    assert memory.batch == held
    shards = [leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(program.state.params)]
    assert memory.params == memory.average == sum(4 * jax.numpy.prod(jax.numpy.array(shape)) for shape in shards)
    assert 2 * memory.params <= memory.optimizer <= 2 * memory.params + 32
    assert memory.frozen == 4 * program.frozen["empty_prompt"].size
    assert (memory.temporaries, memory.output, memory.code) == (7, 5, 3)
    # Everything that came in, named or padding.
    assert memory.total == 10**9 + 7 + 5 + 3


def test_a_refusal_says_how_much_it_wanted(program_and_batch):
    message = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.50G of 15.75G hbm. Exceeded by 2.75G."
    assert refused_memory(*program_and_batch, message).total == round(18.5 * 2**30)
    message = (
        "RESOURCE_EXHAUSTED: the total memory required for HLO temporaries (3.62T) exceeds available HBM (15.75G)."
    )
    assert refused_memory(*program_and_batch, message).temporaries == round(3.62 * 2**40)


def test_another_error_is_not_a_refusal(program_and_batch):
    assert refused_memory(*program_and_batch, "INVALID_ARGUMENT: no such thing") is None
