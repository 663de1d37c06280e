"""One step of stage two, with both losses, on every kind of mesh: what it computes, and what the devices exchange."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.parallel import mesh as meshes
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec, shardings
from sr_jax.training.state import TrainState

# 36 tokens of text and video, 32 of video in the structure module: split 8 ways, the 36 are padded to 40. There are
# more tokens than channels, as in earnest: what a compiler rather sends depends on it.
BATCH = 8
MESHES = {
    "data": {"data": 8},
    "fsdp": {"fsdp": 8},
    "context": {"context": 8},
    "tensor": {"tensor": 2},
    "fsdp_context": {"fsdp": 2, "context": 4},
    "data_fsdp_tensor": {"data": 2, "fsdp": 2, "tensor": 2},
    "fsdp_context_tensor": {"fsdp": 2, "context": 2, "tensor": 2},
}


@pytest.fixture(scope="module")
def run_step(tiny):
    """A function that makes one step from random parameters, and returns what it computed and the compiled program."""
    # With so large an epsilon Adam's update is a smooth function of the gradient, also where that is nearly 0.
    smooth = {"optimizer.eps": 0.1, "optimizer.warmup_steps": 0, "batch_size": BATCH}
    smooth |= {f"model.sample_{side}": 8 for side in ("height", "width")}
    stage_one = dict.fromkeys(("structure", "identity"), tiny("stage_one").to_dict())
    rng = np.random.default_rng(0)
    drawn = {}

    def draw(tree):
        """The same arrays for every mesh: away from zero-initialised projections and closed gates."""

        def one(path, leaf):
            name = jax.tree_util.keystr(path)
            if name not in drawn:
                drawn[name] = 0.2 * rng.standard_normal(leaf.shape, np.float32)
            return jnp.asarray(drawn[name])

        return jax.tree_util.tree_map_with_path(one, tree)

    def run(sizes, **overrides):
        config = tiny("stage_two", **smooth | overrides)
        mesh = meshes.make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])
        program = build_program(config, mesh, builders.build_stage(config, stage_one))
        batch = abstract_batch(record_spec(config, noisy_images=2), BATCH, mesh)
        state = TrainState.create(draw(program.state.params), program.optimizer)
        described = (program.state, program.frozen, batch)
        arguments = jax.device_put((state, draw(program.frozen), draw(batch)), shardings(described))
        compiled = program.train_step.lower(*described).compile()
        state, metrics = compiled(*arguments)
        losses = {name: metrics[name].compute() for name in ("loss", "loss/structure", "loss/identity", "grad_norm")}
        # The first moment after one step is a tenth of the clipped gradient.
        computed = {"losses": losses, "params": state.params, "gradient": state.opt_state[1][0].mu}
        return jax.device_get(computed), compiled.as_text()

    return run


@pytest.fixture(scope="module")
def on_one_device(run_step):
    return run_step({"data": 1})[0]


@pytest.fixture(scope="module", params=MESHES)
def on_mesh(run_step, request):
    """What was computed, and the compiled program."""
    return run_step(MESHES[request.param])


def _assert_close(got, expected):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        error = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-6)
        assert error < 1e-5, f"{jax.tree_util.keystr(path)}: {error}"


def test_a_step_on_a_mesh_is_the_step_on_one_device(on_mesh, on_one_device):
    _assert_close(on_mesh[0], on_one_device)


@pytest.mark.parametrize("steps", [2, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(run_step, on_one_device, steps):
    _assert_close(run_step({"data": 1}, accumulate_steps=steps)[0], on_one_device)


@pytest.mark.parametrize("remat", ["none", "save_attention", "block", "offload"])
def test_remat_changes_no_result(run_step, on_one_device, remat):
    _assert_close(run_step({"data": 1}, remat=remat)[0], on_one_device)
