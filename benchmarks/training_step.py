"""One training step of sr_jax on random clips, taken apart: compiled first, then given its state, then run."""

from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

from sr_jax.parallel.mesh import make_mesh
from sr_jax.training import builders
from sr_jax.training.program import abstract_batch, build_program, record_spec, shardings
from sr_jax.training.state import TrainState


class TrainingStep:
    """A stage's jitted step on all local devices.

    Attributes:
        config: Of the stage.
        program: Its program.
        flops: Model FLOPs of a step on each device: nothing that is computed twice is counted twice.
    """

    def __init__(self, config: ml_collections.ConfigDict, stage_one: Mapping[str, Any] | None = None):
        """Traces the modules; no array is made.

        Args:
            config: See `configs/`.
            stage_one: Config of the modules that the losses read; None for plain fine-tuning.
        """
        self.config = config
        mesh = make_mesh(config.mesh.to_dict())
        stage = builders.build_stage(config, stage_one)
        self.program = build_program(config, mesh, stage)
        spec = record_spec(config, stage, noisy_images=2)
        self._batch = abstract_batch(spec, stage, config.batch_size, mesh)
        work = stage.work(spec.latent_shape[:3], spec.text_shape[0])
        self.flops = work.flops * config.batch_size / jax.device_count()

    def compile(self) -> Any:
        """Compiles the step; returns XLA's memory analysis."""
        program = self.program
        self._compiled = program.train_step.lower(program.state, program.frozen, self._batch).compile()
        return self._compiled.memory_analysis()

    def create(self) -> None:
        """Draws the state and the batch on the devices, and waits for them."""
        program = self.program
        create = jax.jit(
            lambda: TrainState.create(_draw(program.state.params), program.optimizer),
            out_shardings=shardings(program.state),
        )
        self._state = create()
        self._frozen, self._clips = (
            jax.jit(lambda tree=tree: _draw(tree), out_shardings=shardings(tree))()
            for tree in (program.frozen, self._batch)
        )
        jax.block_until_ready((self._state, self._frozen, self._clips))

    def __call__(self) -> Any:
        """Makes an update; returns the loss without waiting for it."""
        self._state, metrics = self._compiled(self._state, self._frozen, self._clips)
        return metrics["loss"]


def _draw(abstract: Any) -> Any:
    return jax.tree.map(lambda x: 0.02 * jax.random.normal(jax.random.key(0, impl="rbg"), x.shape, x.dtype), abstract)
