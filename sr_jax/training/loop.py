"""A training run: its input is checked, its state made or restored, and then it goes from step to step (`steps.py`)."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from clu import parameter_overview
from flax import traverse_util
from jax.sharding import Mesh

from sr_jax.checkpoints import pairs
from sr_jax.checkpoints.reading import exists, read_meta, read_run_meta
from sr_jax.configs.training import keys_of
from sr_jax.data import builder, pipeline
from sr_jax.data.mixture import Mixture, read_provenance
from sr_jax.data.records import Provenance
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.parallel import mesh as meshes
from sr_jax.parallel import processes
from sr_jax.parallel.batches import local_rows, place
from sr_jax.parallel.table import sharding_table
from sr_jax.training import builders, origins, workdirs
from sr_jax.training.faces import require_faces
from sr_jax.training.hooks import TAKEN, Hook, MakeHook, RunParts, require_metric
from sr_jax.training.program import Program, abstract_batch, build_program, naming_records, shardings
from sr_jax.training.restoring import restore
from sr_jax.training.stages import Stage
from sr_jax.training.state import TrainState
from sr_jax.training.steps import run_steps
from sr_jax.training.trackers import open_trackers
from sr_jax.training.watchdog import Watchdog


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    devices: Sequence[jax.Device] | None = None,
    hooks: Sequence[MakeHook] = (),
) -> TrainState:
    """Runs a stage from where its workdir stands to `config.num_train_steps`, and returns the final state.

    All input is checked before anything is written. The same call on the same workdir resumes from the newest
    checkpoint, with parameters, optimizer, average and data position as they were, and ends with the same bits as a
    run that was never stopped (on the same devices). Mesh and number of processes may be others than before.

    With several processes each calls this; `workdir` and the dataset are folders that they share.

    Args:
        config: See `configs/`.
        workdir: Folder for config, checkpoints and logs; made when missing.
        devices: The devices to train on; all of them when None.
        hooks: Make what runs in the pauses of training.

    Raises:
        UserError: For a config that is not as it is declared, when the workdir belongs to another one, when the
            dataset or a loaded checkpoint does not fit, or when the last step cannot be saved.
        PreemptedError: After SIGTERM, once the step is done and saved.
        DivergedError: When the loss or its gradient was not finite in more than `config.max_skipped_steps` steps in a
            row; one that is not is skipped.
    """
    with processes.agreed():
        check(keys_of(config), config)
        trackers = open_trackers(config, workdir)
    with Watchdog(**config.watchdog) as watchdog, processes.stop_requests() as stop:
        with processes.agreed():
            workdirs.check_config(config, workdir)
            inputs = _checked_inputs(config, workdir, devices, hooks)
        workdirs.write_config(config, workdir)
        program, data, frozen, meta = inputs.program, inputs.data, inputs.frozen, inputs.meta
        state, restored = restore(workdir, program.state), {}
        if state is None:
            state = make_state(program, inputs.loaded, config.seed)
        else:
            step = int(state.step)
            restored = read_meta(workdir, step=step)
            since = origins.position(restored, meta["origins"], config.batch_size)
            meta["data_position"] = dataclasses.asdict(data.seek(step, since))
        hooks_now = inputs.hooks
        # What was loaded is in the state now.
        del inputs
        if jax.process_index() == 0:
            _describe(program)
        return run_steps(
            config,
            workdir,
            state,
            program=program,
            data=data,
            frozen=frozen,
            meta=meta,
            stop=stop,
            watchdog=watchdog,
            hooks=hooks_now,
            taken=restored.get(TAKEN, {}),
            trackers=trackers,
        )


def _describe(program: Program) -> None:
    """Says what is trained and, where there are several devices, what each holds."""
    for name, params in program.state.params.items():
        logging.info("training %s: %s parameters", name, f"{parameter_overview.count_parameters(params):,}")
    if program.mesh.size > 1:
        table = sharding_table(program.state.params | {"frozen": program.frozen})
        logging.info("parameters on each device:\n%s", table)


def make_state(program: Program, loaded: Params, seed: int) -> TrainState:
    """The state before the first update, on the program's mesh; no device ever holds more than its part.

    Args:
        program: The run's program.
        loaded: What does not start fresh (`stage.start`), on the mesh.
        seed: Seed of the run.
    """

    def create(loaded: Params) -> TrainState:
        params = builders.initial_params(program.stage, loaded, jax.random.key(seed))
        params = _in_types_of(program.state.params, params)
        return TrainState.create(params, program.optimizer, program.stage.running)

    return jax.jit(create, out_shardings=shardings(program.state))(loaded)


def _on_mesh(program: Program, loaded: Params) -> Params:
    """Puts a part of all parameters where the program wants it."""
    where = traverse_util.flatten_dict(shardings(program.state.params))
    flat = traverse_util.flatten_dict(loaded)
    return traverse_util.unflatten_dict(place(flat, {path: where[path] for path in flat}))


def _in_types_of(abstract: Params, params: Params) -> Params:
    return jax.tree.map(lambda described, x: x.astype(described.dtype), abstract, params)


def make_data(config: ml_collections.ConfigDict, mesh: Mesh, stage: Stage) -> pipeline.TrainBatches:
    """This process's rows of the batches, with the fields that the stage reads.

    Raises:
        UserError: When the global batch cannot be split over the mesh's batch axes, and as `pipeline.train_batches`.
    """
    meshes.check_batch_size(config.batch_size, mesh, config.accumulate_steps)
    return pipeline.train_batches(
        Mixture.of(config.data),
        split=config.data.split,
        batch_size=config.batch_size,
        seed=config.seed,
        rows=local_rows(config.batch_size, mesh),
        fields=tuple(stage.fields),
        max_damaged=config.data.max_damaged,
    )


def checked_provenance(config: ml_collections.ConfigDict, workdir: Path, stage: Stage) -> Provenance:
    """What made the data, once it is known to fit the config and every checkpoint that the run starts from.

    The noise schedule of these is checked, too.

    Args:
        config: See `configs/`.
        workdir: Of the run, which may have a checkpoint to go on from.
        stage: Of the run.

    Raises:
        UserError: Naming the first field that differs.
    """
    if not config.data.dir:
        raise UserError("config.data.dir is empty: name a folder that `python -m sr_jax.prepare` wrote")
    provenance = read_provenance(Mixture.of(config.data))
    if config.data.codec and provenance.codec["name"] != config.data.codec:
        raise UserError(
            f"the dataset in {config.data.dir} was made with the codec {provenance.codec['name']!r}, "
            f"config.data.codec asks for {config.data.codec!r}: prepare the videos with that codec"
        )
    # A run that goes on needs what it started from no more.
    start = "" if exists(workdir) else origins.start_of(config.init)
    sources = [frozen.source for frozen in stage.frozen.values() if frozen.source]
    for source in [*sources, workdir if exists(workdir) else start]:
        if not source:
            continue
        meta = read_run_meta(source) if source == workdir else read_meta(source)
        if meta["stage"] == "import":
            # Released weights were trained on no dataset of this kind, but go with one autoencoder and text encoder.
            dataset = f"the dataset in {config.data.dir}"
            pairs.require_pair(provenance, meta, dataset=dataset, model=source, allowed=config.init.may_differ)
            continue
        trained_on = Provenance.from_json(json.dumps(meta["provenance"]))
        allowed = config.init.may_differ if source == start else ()
        differences = [line for line in provenance.differences(trained_on) if line.partition(":")[0] not in allowed]
        if differences:
            field = differences[0].partition(":")[0]
            advice = f"; to go on from it all the same: --{pairs.MAY_DIFFER}={field}" if source == start else ""
            raise UserError(
                f"the dataset in {config.data.dir} does not fit the checkpoint in {source}: {differences[0]}{advice}"
            )
    if not exists(workdir) or Path(config.init.transformer).is_dir():
        pairs.require_schedule(config)
    for frozen in stage.frozen.values():
        if frozen.source:
            pairs.require_schedule_of_module(config, frozen.source)
    return provenance


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What a run reads before it writes anything.

    Attributes:
        program: Its program.
        data: This process's batches.
        frozen: What the loss reads (`builders.load_frozen`), on the mesh.
        loaded: What does not start fresh (`stage.start`), on the mesh; `{}` when the run resumes.
        meta: What its checkpoints say about themselves.
        hooks: What runs in its pauses.
    """

    program: Program
    data: pipeline.TrainBatches
    frozen: Params
    loaded: Params
    meta: dict[str, Any]
    hooks: list[Hook]


def _checked_inputs(
    config: ml_collections.ConfigDict,
    workdir: Path,
    devices: Sequence[jax.Device] | None,
    make_hooks: Sequence[MakeHook],
) -> _Inputs:
    mesh = meshes.make_mesh(config.mesh.to_dict(), devices)
    stage = builders.build_stage(config)
    provenance = checked_provenance(config, workdir, stage)
    require_faces(Mixture.of(config.data), config.data.split, stage)
    data = make_data(config, mesh, stage)
    if jax.process_index() == 0:
        for line in data.described():
            logging.info("data: %s", line)
    started = read_run_meta(workdir) if exists(workdir) else None
    known = origins.read_origins(config, workdir, stage, data, started)
    meta = {
        "stage": config.stage,
        "config": json.loads(config.to_json()),
        "provenance": json.loads(provenance.to_json()),
        "schedule": (started or {}).get("schedule") or pairs.trained_schedule(config),
        "data_position": dataclasses.asdict(data.seek(0)),
        **known,
    }
    program = build_program(config, mesh, stage)
    _require_fitting_records(config, program, data.folders)
    # Read here, so that weights that are damaged or gone are told before anything is written.
    frozen = _in_types_of(program.frozen, builders.load_frozen(stage, known["frozen_steps"]))
    frozen = place(frozen, shardings(program.frozen))
    parts = RunParts(config, program, frozen)
    hooks = [hook for hook in (make(parts) for make in make_hooks) if hook is not None]
    require_metric(config.keep_best, hooks)
    loaded = {} if started else _on_mesh(program, stage.start())
    return _Inputs(program, data, frozen, loaded, meta, hooks)


def _require_fitting_records(config: ml_collections.ConfigDict, program: Program, folders: Sequence[Path]) -> None:
    """Traces the step for every size of clip that is trained on: what does not fit is told before anything runs."""
    for folder in folders:
        spec = builder.read_spec(folder)
        batch = abstract_batch(spec, program.stage, config.batch_size, program.mesh)
        frozen = program.frozen
        if "empty_prompt" in frozen:
            # Captions may be shorter than the longest that the model takes; the empty one is as long as they are.
            frozen = frozen | {"empty_prompt": frozen["empty_prompt"].update(shape=spec.text_shape)}
        with naming_records(folder, spec):
            program.train_step.trace(program.state, frozen, batch)
