"""What goes with what: a dataset with the model that it is for, and a noise schedule with what was trained on it."""

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections

from sr_jax.backbones.base import family
from sr_jax.checkpoints.networks import backbone_of
from sr_jax.checkpoints.reading import read_meta
from sr_jax.conversion.components import SCHEDULER_FILE, read_json
from sr_jax.conversion.imported import SOURCE_FOLDER
from sr_jax.data.records import Provenance
from sr_jax.errors import UserError

MAY_DIFFER = "config.init.may_differ"
"""The config key that allows named fields to differ."""
SPACING = "timestep_spacing"
"""In a `schedule` section, which timesteps a sampler takes."""


def require_pair(
    provenance: Provenance,
    meta: Mapping[str, Any],
    *,
    dataset: str,
    model: str | Path,
    allowed: Collection[str] = (),
    otherwise: str = "",
) -> None:
    """Checks that a dataset was made with the autoencoder and the text encoder of an imported model.

    What is not known of either, because it was made by a version that did not write it down, is logged.

    Args:
        provenance: Of the dataset.
        meta: Of the import's checkpoint.
        dataset: What the dataset is, for messages.
        model: Where the import lies.
        allowed: Fields that may differ all the same.
        otherwise: What to do where a field differs; of training when empty.

    Raises:
        UserError: Naming the first field that differs and is not allowed to.
    """
    identities = meta["imported"].get("identities", {})
    entries = {identity["entry"] for identity in identities.values()}
    unknown = [entry for entry in ("codec", "teachers.text") if entry not in entries]
    for identity in identities.values():
        for field, found, wanted in _differences(provenance, identity):
            if wanted is None:
                unknown.append(field)
            elif field not in allowed:
                remedy = otherwise or f"prepare the videos with it, or allow that with --{MAY_DIFFER}={field}"
                raise UserError(
                    f"{dataset} does not go with the model in {model}: {field} is {found!r}, of the model it is "
                    f"{wanted!r}: {remedy}"
                )
    if unknown:
        _say(f"{', '.join(unknown)}: whether {dataset} goes with the model in {model} could not be checked")


def require_loaded(kind: str, loaded: Any, meta: Mapping[str, Any], model: str | Path) -> None:
    """Checks that a codec or text teacher that was loaded is the one of an imported model.

    Args:
        kind: Its section of the config: "codec" or "text".
        loaded: With a `name` and a `weight_hash`.
        meta: Of the import's checkpoint.
        model: Where the import lies.

    Raises:
        UserError: If it is another one.
    """
    entry = {"codec": "codec", "text": "teachers.text"}[kind]
    for identity in meta["imported"].get("identities", {}).values():
        hashes = identity["weight_hashes"]
        if identity["entry"] == entry and hashes and loaded.weight_hash not in hashes:
            raise UserError(
                f"config.{kind} has the weight_hash {loaded.weight_hash!r}, the {kind} of the model in {model} has "
                f"{hashes[0]!r}: leave config.{kind}.path empty, or name that model"
            )


def require_schedule(config: ml_collections.ConfigDict) -> None:
    """Checks that a config trains on the noise schedule of the transformer that it starts from.

    Args:
        config: See `configs/`; without `init.transformer` nothing is checked.

    Raises:
        UserError: Naming the first constant that differs and is not in `config.init.may_differ`.
    """
    source = config.init.transformer
    if not source:
        return
    meta = read_meta(source)
    section = schedule_of(source, meta)
    if section is None:
        _say(f"{source} was imported without scheduler/: whether config.schedule is its schedule could not be checked")
        return
    _require_same_constants(config, meta, section, source, "the transformer")


def require_schedule_of_module(config: ml_collections.ConfigDict, source: str | Path) -> None:
    """Checks the schedule of a structure module that reads noisy latents: the one it was trained on is meant by a time.

    Args:
        config: Of the run that reads the module.
        source: Workdir of the run that trained it.

    Raises:
        UserError: As `require_schedule`.
    """
    meta = read_meta(source)
    if meta["config"].get("structure_input") == "noisy":
        _require_same_constants(config, meta, meta["config"]["schedule"], source, "the structure module")


def schedule_of(checkpoint: str | Path, meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `schedule` section of a checkpoint's transformer, of an import as its scheduler's file has it.

    Args:
        checkpoint: A training workdir, or an import.
        meta: Of its checkpoint.

    Returns:
        The section; None for an import without a scheduler.

    Raises:
        UserError: For an import with a scheduler of another kind.
    """
    if meta["stage"] != "import":
        return meta.get("schedule", meta["config"]["schedule"])
    path = Path(checkpoint) / SOURCE_FOLDER / SCHEDULER_FILE
    return family(meta["config"]["backbone"]).schedule_of_release(read_json(path)) if path.is_file() else None


def sampling_schedule(checkpoint: Path, meta: Mapping[str, Any], spacing: str = "") -> dict[str, Any]:
    """The `schedule` section to sample a checkpoint with.

    Args:
        checkpoint: A training workdir, or an import.
        meta: Of its checkpoint.
        spacing: Which timesteps to take instead of those that the checkpoint names; these when empty.

    Raises:
        UserError: For an import without a scheduler, or with one of another kind.
    """
    schedule = schedule_of(checkpoint, meta)
    if schedule is None:
        raise UserError(
            f"{checkpoint} was imported without scheduler/, which says how to sample: import the folder of the whole "
            "pipeline, with --components transformer for that alone"
        )
    return schedule | ({SPACING: spacing} if spacing else {})


def trained_schedule(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What a run's checkpoints say of its schedule: the constants that it trains with, and what it is sampled with.

    What the config does not say of sampling, the transformer that it starts from does.
    """
    fields = config.to_dict()
    source = config.init.transformer
    before = (schedule_of(source, read_meta(source)) if source else None) or {}
    constants = backbone_of(fields).process(fields["schedule"]).constants
    return before | fields["schedule"] | dict(constants)


def require_base(meta: Mapping[str, Any], checkpoint: Path, base: Path) -> None:
    """Checks that a transformer goes with the other parts of an imported model, by the dataset it was trained on.

    Args:
        meta: Of the transformer's checkpoint.
        checkpoint: Its workdir.
        base: The import.

    Raises:
        UserError: Naming what differs.
    """
    require_pair(
        Provenance.from_json(json.dumps(meta["provenance"])),
        read_meta(base),
        dataset=f"the dataset of {checkpoint}",
        model=base,
        allowed=meta["config"]["init"]["may_differ"],
        otherwise="name the import it was trained from as --base",
    )


def exported_scheduler(meta: Mapping[str, Any], base: Path | None) -> dict[str, Any]:
    """What an export's scheduler file must say of a trained transformer.

    Args:
        meta: Of its checkpoint.
        base: The import with the other parts, whose file says how to sample; None where there is none.
    """
    backbone, section = backbone_of(meta["config"]), meta.get("schedule", meta["config"]["schedule"])
    before = schedule_of(base, read_meta(base)) if base is not None else None
    if before is None:
        return backbone.schedule_to_release(section)
    theirs = backbone.schedule_to_release(before)
    ours = backbone.schedule_to_release(before | dict(backbone.process(section).constants))
    return {name: value for name, value in ours.items() if theirs[name] != value}


def _require_same_constants(
    config: ml_collections.ConfigDict, meta: Mapping[str, Any], section: Mapping[str, Any], source: Any, what: str
) -> None:
    fields = config.to_dict()
    if meta["config"]["backbone"] != fields["backbone"]:
        # Refused where weights are loaded.
        return
    backbone = backbone_of(fields)
    ours, theirs = (backbone.process(given).constants for given in (fields["schedule"], section))
    for name in sorted(ours.keys() | theirs.keys()):
        field = f"schedule.{name}"
        if ours.get(name) != theirs.get(name) and field not in config.init.may_differ:
            raise UserError(
                f"config.{field} is {ours.get(name)!r}, but {what} in {source} was trained with {theirs.get(name)!r}: "
                f"set it to that, or train on another schedule with --{MAY_DIFFER}={field}"
            )


def _differences(provenance: Provenance, identity: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Field, the dataset's value and the model's for each that differs; None for the model's where one is unknown."""
    entry = identity["entry"]
    section, _, name = entry.partition(".")
    made = getattr(provenance, section)
    made = made.get(name, {}) if name else made
    for field, wanted in identity.items():
        if field in made and field not in ("entry", "weight_hashes") and made[field] != wanted:
            yield f"{entry}.{field}", made[field], wanted
    found, hashes = made.get("weight_hash", "none"), identity["weight_hashes"]
    if found == "none" or not hashes:
        yield f"{entry}.weight_hash", found, None
    elif found not in hashes:
        yield f"{entry}.weight_hash", found, hashes[0]


def _say(line: str) -> None:
    if jax.process_index() == 0:
        logging.warning(line)
