"""One step of stage two, with both losses, on every kind of mesh: what it computes, and what the devices exchange."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.parallel import mesh as meshes
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec, shardings
from sr_jax.training.state import TrainState
from tests.training.helpers import assert_equal_but_for_rounding

# 36 tokens of text and video, 32 of video in the structure module: split 8 ways, the 36 are padded to 40. There are
# more tokens than channels, as in earnest: what a compiler rather sends depends on it. Eight heads, in both modules:
# they can be split 8 ways too.
BATCH, TOKENS, HEADS, LAYERS = 8, 36, 8, 2
WIDTH = HEADS * 16
# The code is compiled for this test more than it runs.
COMPILER_OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# The collectives of the compiled program, in which the blocks of a module are one loop. XLA's CPU compiler keeps the
# reduce-scatters that the program asks for and makes none of its own from all-reduces, as those for TPUs and GPUs do.
# Norms are all-reduces of a single number for each way in which arrays are split. These are the most there may be: how
# many of them are merged into one changes with the compiler's version.
MESHES = {
    "data": ({"data": 8}, {"all-reduce": 3}),
    "fsdp": ({"fsdp": 8}, {"all-gather": 68, "all-reduce": 12}),
    "context": ({"context": 8}, {"all-gather": 51, "all-reduce": 11, "all-to-all": 23}),
    "tensor": ({"tensor": 8}, {"all-gather": 13, "all-reduce": 11}),
    "fsdp_context": (
        {"fsdp": 2, "context": 4},
        {"all-gather": 71, "all-reduce": 10, "all-to-all": 22, "collective-permute": 6},
    ),
    "data_fsdp_tensor": (
        {"data": 2, "fsdp": 2, "tensor": 2},
        {"all-gather": 79, "all-reduce": 30, "all-to-all": 1, "collective-permute": 25},
    ),
    "fsdp_context_tensor": (
        {"fsdp": 2, "context": 2, "tensor": 2},
        {"all-gather": 109, "all-reduce": 22, "all-to-all": 3, "collective-permute": 27, "reduce-scatter": 4},
    ),
}


@pytest.fixture(scope="module")
def run_step(tiny):
    """A function that makes one step from random parameters, and returns what it computed and the compiled program."""
    # With so large an epsilon Adam's update is a smooth function of the gradient, also where that is nearly 0.
    smooth = {"optimizer.eps": 0.1, "optimizer.warmup_steps": 0, "batch_size": BATCH}
    smooth |= {"model.sample_height": 8, "model.sample_width": 8, "model.num_attention_heads": HEADS}
    stage_one = tiny("stage_one", **{"structure.num_attention_heads": HEADS}).to_dict()
    rng = np.random.default_rng(0)
    drawn = {}

    def draw(tree):
        """The same arrays for every mesh: away from zero-initialised projections and closed gates."""

        def one(path, leaf):
            name = jax.tree_util.keystr(path)
            if name not in drawn:
                drawn[name] = 0.2 * rng.standard_normal(leaf.shape, np.float32)
            return jnp.asarray(drawn[name], leaf.dtype)

        return jax.tree_util.tree_map_with_path(one, tree)

    def run(sizes, **overrides):
        config = tiny("stage_two", **smooth | overrides)
        mesh = meshes.make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])
        program = build_program(config, mesh, builders.build_stage(config, stage_one))
        batch = abstract_batch(record_spec(config, program.stage, noisy_images=2), program.stage, BATCH, mesh)
        state = TrainState.create(draw(program.state.params), program.optimizer)
        described = (program.state, program.frozen, batch)
        arguments = jax.device_put((state, draw(program.frozen), draw(batch)), shardings(described))
        compiled = program.train_step.lower(*described).compile(COMPILER_OPTIONS)
        state, metrics = compiled(*arguments)
        names = ("loss", "loss/structure", "loss/identity", "grad_norm", "param_norm", "update_norm")
        losses = {name: metrics[name].compute() for name in names}
        # The first moment after one step is a tenth of the clipped gradient.
        computed = {"losses": losses, "params": state.params, "gradient": state.opt_state[1][0].mu}
        return jax.device_get(computed), compiled.as_text()

    return run


@pytest.fixture(scope="module")
def on_one_device(run_step):
    return run_step({"data": 1})[0]


@pytest.fixture(scope="module", params=MESHES)
def on_mesh(run_step, request):
    """Mesh sizes, expected collectives, what was computed and the compiled program."""
    sizes, collectives = MESHES[request.param]
    return sizes, collectives, *run_step(sizes)


def test_a_step_on_a_mesh_is_the_step_on_one_device(on_mesh, on_one_device):
    assert_equal_but_for_rounding(on_mesh[2], on_one_device)


def test_a_step_exchanges_no_more_than_it_must(on_mesh):
    _, expected, _, program = on_mesh
    found = re.findall(rf" ({'|'.join(KINDS)})(?:-start)?\(", program)
    assert collections.Counter(found) <= collections.Counter(expected)


def test_nothing_large_is_whole_on_a_device(on_mesh):
    sizes, _, _, program = on_mesh
    ways = {axis: sizes.get(axis, 1) for axis in meshes.AXES}
    stream = ways["context"] * ways["tensor"]
    padded = TOKENS + -TOKENS % stream
    batch = BATCH // (ways["data"] * ways["fsdp"])
    whole = []
    if ways["fsdp"] * ways["context"] > 1:
        # The stacked kernels of the feed-forward; one layer of them at a time is gathered.
        whole += [f"{LAYERS},{WIDTH},{4 * WIDTH}", f"{LAYERS},{4 * WIDTH},{WIDTH}"]
    if batch < BATCH:
        whole += [f"{BATCH},{tokens},{width}" for tokens in (TOKENS, padded) for width in (WIDTH, 4 * WIDTH)]
    if ways["context"] > 1:
        # The residual stream and the hidden units of the feed-forward.
        whole += [f"{batch},{padded},{width}" for width in (WIDTH, 4 * WIDTH)]
    # Inside a fusion an array has no memory of its own.
    held = re.sub(r"^%?[\w.]*fused_computation[^{]*\{.*?^\}", "", program, flags=re.S | re.M)
    assert [shape for shape in whole if f"f32[{shape}]" in held] == []


def test_accumulated_gradients_are_those_of_the_whole_batch(run_step, on_one_device):
    assert_equal_but_for_rounding(run_step({"data": 2}, accumulate_steps=4)[0], on_one_device)
