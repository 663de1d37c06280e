"""What hooks are made of, without a run: random parameters on any mesh, away from projections that start at 0."""

import math

import jax
import numpy as np

from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.batches import place
from sr_jax.training import builders
from sr_jax.training.hooks import RunParts
from sr_jax.training.program import build_program, shardings
from sr_jax.training.state import TrainState

STEP = 3
"""The step of the states."""


def make_parts(config, stage_one, sizes=None):
    """The parts of a run and its state on a mesh of some sizes (one device when None); the optimizer's is left out.

    Args:
        config: Of the run.
        stage_one: Config of what the objectives read, where that is no workdir.
        sizes: Of the mesh.
    """
    sizes = sizes or {"data": 1}
    mesh = meshes.make_mesh(sizes, jax.devices()[: math.prod(sizes.values())])
    stage = builders.build_stage(config, stage_one.to_dict() | {"structure_input": "clean", "structure_text": "none"})
    program = build_program(config, mesh, stage)
    random = np.random.default_rng(0)

    def drawn(tree):
        return jax.tree.map(lambda leaf: 0.2 * random.standard_normal(leaf.shape, np.float32), tree)

    frozen = {
        name: stage.frozen[name].read(None) if name == "empty_prompt" else drawn(leaf)
        for name, leaf in program.frozen.items()
    }
    params = place(drawn(program.state.params), shardings(program.state.params))
    state = TrainState(jax.device_put(np.int32(STEP), shardings(program.state.step)), params, {}, params)
    return RunParts(config, program, place(frozen, shardings(program.frozen))), state
