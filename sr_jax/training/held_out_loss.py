"""The loss on clips that are not trained on, with noise and times that are always the same.

Every clip's random choices follow from its id alone: not from the step, the seed of the run, or its place in a batch.
So the loss of a step depends on its parameters alone, whatever the mesh and the batch size, and those of other steps
and runs can be compared with it.
"""

import logging
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from clu import metrics as clu_metrics
from jaxtyping import Array, Bool, UInt32

from sr_jax.data.builder import read_spec, split_names
from sr_jax.data.held_out import HeldOutClips, held_out_clips
from sr_jax.models.functional import Params
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel.batches import local_rows, to_global
from sr_jax.training.hooks import RunParts
from sr_jax.training.program import Program, abstract_batch, naming_records, shardings
from sr_jax.training.stages import Stage, total_and_metrics
from sr_jax.training.state import Batch, Drawn, Metrics, Progress, TrainState

PREFIXES = {"ema": "heldout", "raw": "heldout_raw"}
"""The weights that can be measured, and how the names of their metrics begin."""
_KEY, _PRESENT = "heldout_key", "heldout_present"
# Any number: of the noise of all runs.
_SEED = 20251019


class HeldOutLoss:
    """The stage's loss on held-out clips, a hook (`training.hooks`).

    The clips are read once, and stay in the host's memory in float16.

    Args:
        program: The run's program.
        frozen: What the loss reads and never changes, on the mesh.
        clips: Of each size.
        every_steps: How often it is measured.
        batch_size: Clips that are on the devices at a time, at most; a multiple of data x fsdp.
        weights: "ema", "raw" or "both".

    Raises:
        UserError: When records are damaged, or do not fit the model.
    """

    name = "heldout"

    def __init__(
        self,
        program: Program,
        frozen: Params,
        clips: list[HeldOutClips],
        *,
        every_steps: int,
        batch_size: int,
        weights: str,
    ):
        self.every_steps = every_steps
        self._program, self._frozen = program, frozen
        self._weights = ("ema", "raw") if weights == "both" else (weights,)
        self._loss = jit_held_out_loss(program)
        self._batches = [batch for group in clips for batch in self._read(group, batch_size)]
        metrics = self._trace(clips, batch_size)
        losses = [name for name in metrics if name == "loss" or (name.startswith("loss/") and name.count("/") == 1)]
        self.directions = {f"{PREFIXES[kind]}/{name}": -1 for kind in self._weights for name in losses}

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        """The means over the clips of all that the stage logs of its loss, by `PREFIXES`; see `hooks.Hook`."""
        progress = Progress(state.step, state.running)
        params = {"ema": state.ema_params, "raw": state.params}
        found = {}
        for kind in self._weights:
            means = self._means(params[kind], progress)
            found |= {f"{PREFIXES[kind]}/{name}": value for name, value in means.items()}
        return found

    def _means(self, params: Params, progress: Progress) -> dict[str, float]:
        totals: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        for rows, batch in self._batches:
            placed = to_global(batch, rows, self._program.mesh)
            for name, average in jax.device_get(self._loss(params, self._frozen, progress, placed)).items():
                # In float64, so that it hardly matters how many clips were in a batch.
                totals[name] += float(average.total)
                counts[name] += int(average.count)
        return {name: totals[name] / count for name, count in counts.items() if count}

    def _read(self, group: HeldOutClips, batch_size: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Batches of the clips of a size with their rows: of each, the rows of this process."""
        rows = _rows(group.count, batch_size, self._program)
        mine = np.asarray(local_rows(rows, self._program.mesh))
        for first in range(0, group.count, rows):
            numbers = first + mine
            # The last batch is filled up with the last clip, which counts once.
            ids, arrays = group.read(np.minimum(numbers, group.count - 1).tolist())
            keys = np.array([zlib.crc32(clip_id.encode()) for clip_id in ids], np.uint32)
            yield rows, arrays | {_KEY: keys, _PRESENT: numbers < group.count}

    def _trace(self, clips: list[HeldOutClips], batch_size: int) -> list[str]:
        """The names of all metrics; what does not fit is told before anything runs."""
        state, names = self._program.state, {}
        progress = Progress(state.step, state.running)
        for group in clips:
            rows, spec = _rows(group.count, batch_size, self._program), read_spec(group.folder)
            batch = abstract_batch(spec, self._program.stage, rows, self._program.mesh)
            where = meshes.batch_sharding(self._program.mesh)
            batch[_KEY] = jax.ShapeDtypeStruct((rows,), jnp.uint32, sharding=where)
            batch[_PRESENT] = jax.ShapeDtypeStruct((rows,), jnp.bool_, sharding=where)
            with naming_records(group.folder, spec):
                names |= dict.fromkeys(jax.eval_shape(self._loss, state.params, self._frozen, progress, batch))
        return list(names)


def make_held_out_loss(run: RunParts) -> HeldOutLoss | None:
    """The hook of a run by its config's `heldout` section; None where that is off, or the dataset has no such split.

    Raises:
        UserError: When records lack what the stage reads, do not fit it, or are damaged.
    """
    config, section = run.config, run.config.heldout
    if not section.every_steps:
        return None
    if not has_split(config, "held-out loss"):
        return None
    return HeldOutLoss(
        run.program,
        run.frozen,
        held_out_clips(config.data.dir, section.split, section.clips, tuple(run.program.stage.fields)),
        every_steps=section.every_steps,
        batch_size=config.batch_size // config.accumulate_steps,
        weights=section.weights,
    )


def has_split(config: ml_collections.ConfigDict, what: str) -> bool:
    """Whether the dataset has the split of held-out clips; one line says that it has not.

    Args:
        config: See `configs/`.
        what: What there is not without it.
    """
    split, known = config.heldout.split, split_names(config.data.dir)
    if split not in known and jax.process_index() == 0:
        logging.warning(
            "no %s: the dataset in %s has no split %r, which config.heldout.split names, but %s",
            what,
            config.data.dir,
            split,
            ", ".join(known),
        )
    return split in known


def jit_held_out_loss(program: Program) -> Callable[[Params, Params, Progress, Batch], Metrics]:
    """`(params, frozen, progress, batch) -> metrics` on the program's mesh.

    The batch has, beside the fields that the stage reads, of each clip the number that its random choices follow from,
    and whether it counts.
    """
    stage, state = program.stage, program.state

    def held_out_loss(params: Params, frozen: Params, progress: Progress, batch: Batch) -> Metrics:
        fields = {name: batch[name].astype(jnp.float32) for name in stage.fields}
        drawn = draw_by_clip(stage, frozen, fields, batch[_KEY], progress)
        return metrics_of_present(stage, params, frozen, drawn, batch[_PRESENT])

    progress = Progress(shardings(state.step), shardings(state.running))
    where = (shardings(state.params), shardings(program.frozen), progress, meshes.batch_sharding(program.mesh))
    return meshes.jit_on_mesh(
        program.mesh, held_out_loss, in_shardings=where, out_shardings=meshes.replicated(program.mesh)
    )


def draw_by_clip(
    stage: Stage, frozen: Params, fields: Mapping[str, Array], numbers: UInt32[Array, " b"], progress: Progress
) -> Drawn:
    """What the stage draws, each clip from a key of its own, as if it were alone in its batch."""

    def draw(clip: Batch, number: Array) -> Drawn:
        key = jax.random.fold_in(jax.random.key(_SEED), number)
        alone = stage.draw(frozen, {name: x[None] for name, x in clip.items()}, key, progress)
        return jax.tree.map(lambda x: x[0], alone)

    return jax.vmap(draw)(dict(fields), numbers)


def metrics_of_present(
    stage: Stage, params: Params, frozen: Params, drawn: Drawn, present: Bool[Array, " b"]
) -> Metrics:
    """The loss and its parts, averaged over the clips that count."""
    terms, times = stage.terms(params, frozen, drawn)
    counted = {name: (weight, term._replace(counted=term.counted & present)) for name, (weight, term) in terms.items()}
    total, metrics = total_and_metrics(counted, stage.process, times)
    # Clips that do not count are a 0 among the others.
    return metrics | {"loss": clu_metrics.Average(total=total * len(present), count=jnp.sum(present))}


def _rows(clips: int, batch_size: int, program: Program) -> int:
    """Clips on the devices at a time: no more than there are, but as many on each."""
    ways = math.prod(program.mesh.shape[axis] for axis in meshes.BATCH_AXES)
    return min(batch_size, -(-clips // ways) * ways)
