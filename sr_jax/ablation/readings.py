"""How good the alignment modules are: f_S and f_ID on clean latents, and on what a transformer predicts of noise.

A loss on `z0_hat` can teach no more than its module reads in it. So it is measured by share of noise how much of the
depth f_S explains there, and how far f_ID keeps people apart.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Bool, Float, Int

from sr_jax.alignment.identity import identity_config, identity_loss, identity_network
from sr_jax.checkpoints.reading import open_params
from sr_jax.data.clips import CLIPS_FOLDER, read_index
from sr_jax.data.pipeline import eval_examples
from sr_jax.errors import UserError
from sr_jax.parallel.batches import to_first_device
from sr_jax.training.builders import build_stage, initial_params, load_frozen
from sr_jax.training.denoising import Denoising
from sr_jax.training.state import Progress

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of noise at which is read; 0 is the clean latent itself, without any prediction."""


def read_modules(
    config: ml_collections.ConfigDict, split: str, *, clips: int, shares: Sequence[float] = SHARES
) -> list[dict[str, Any]]:
    """Reads f_S and f_ID on `z0_hat` of a transformer.

    Args:
        config: Of a stage two that starts from the transformer, and has the objectives `structure` and `identity`.
        split: Whose clips.
        clips: How many of them, from the first on.
        shares: At which shares of noise.

    Returns:
        For each share `share`, `structure_explained` (of the variance of `d0` about the mean of each channel, at most
        1), `structure_loss`, `identity_loss`, `identity_cosine`, and of `people_apart`.

    Raises:
        UserError: When the config has not both objectives, or what it names is not there.
    """
    stage, params, frozen = load_stage(config)
    if missing := {"structure", "identity"} - set(stage.objectives.weighted):
        raise UserError(f"config.alignment.{sorted(missing)[0]} has no weight: its module is not read")
    examples = list(itertools.islice(eval_examples(config.data.dir, split, tuple(stage.fields)), clips))
    people = _people(config.data.dir, split, examples)
    # Of any share of noise, so that it is compiled once.
    read = jax.jit(functools.partial(_reader(stage), params, frozen))
    batches = list(_batches(examples, min(config.batch_size, len(examples))))
    keys = jax.random.split(jax.random.key(config.seed), len(examples))
    result = []
    for share in shares:
        found = [
            read({name: np.stack([example[name] for example in batch]) for name in stage.fields}, keys[places], share)
            for places, batch in batches
        ]
        depth, embeddings = (np.concatenate([np.asarray(item[i]) for item in found])[: len(examples)] for i in (0, 1))
        result.append({"share": share, **_judged(depth, embeddings, examples, people)})
    return result


def load_stage(config: ml_collections.ConfigDict) -> tuple[Denoising, Any, Any]:
    """A stage two, its transformer as it starts, and its frozen networks, on the first device.

    Raises:
        UserError: When the config is no stage two of a whole transformer, or what it names is not there.
    """
    if config.stage != "stage_two" or config.lora.rank or not config.init.transformer:
        raise UserError("name a config of stage two with config.init.transformer, and without a LoRA")
    stage = build_stage(config)
    params = initial_params(stage, to_first_device(stage.start()), jax.random.key(config.seed))
    return stage, params, to_first_device(load_frozen(stage))


def _judged(
    depth: Float[np.ndarray, "n t h w c"],
    embeddings: Float[np.ndarray, "n t e"],
    examples: Sequence[Mapping[str, Any]],
    people: Int[np.ndarray, " n"],
) -> dict[str, Any]:
    """What was read, against what there is."""
    true, faces, mask = (
        np.stack([e[name] for e in examples]) for name in ("depth_latent", "face_embedding", "face_mask")
    )
    losses = np.asarray(identity_loss(jnp.asarray(embeddings), jnp.asarray(faces), jnp.asarray(mask)))
    shown = mask > 0
    return {
        "structure_explained": explained(depth, true),
        "structure_loss": float(np.square(depth - true).mean()),
        "identity_loss": float(losses[shown.any(axis=1)].mean()),
        "identity_cosine": float((embeddings * faces).sum(axis=-1)[shown].mean()),
        **people_apart(embeddings, shown, people),
    }


def _reader(stage: Denoising) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """From a batch to what f_S and f_ID read in `z0_hat`, as the objectives do."""
    structure, identity = (stage.objectives.weighted[name].objective for name in ("structure", "identity"))

    def read(params: Any, frozen: Any, batch: Any, keys: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = stage.draw(frozen, batch, keys[0], Progress(jnp.int32(0), stage.running))
        # The clip's own noise, whatever batch it is in.
        noise = jax.vmap(lambda key: jax.random.normal(key, drawn["noise"].shape[1:]))(keys)
        times = stage.process.times_at(jnp.full(len(noise), share))
        drawn = drawn | {"latents": batch["latent_mean"], "noise": noise, "times": times}
        view = stage.view(drawn, *stage.predict(params, drawn))
        view = view.replace(clean=jnp.where(share > 0, view.clean, drawn["latents"]))
        depth = structure(params, frozen, view, {}).output
        seen = depth if identity.config.use_depth else None
        return depth, identity.module.apply(frozen["identity"], view.clean, seen)

    return read


def _batches(examples: Sequence[Any], size: int) -> Iterator[tuple[np.ndarray, list[Any]]]:
    """Batches of one size, the last of which is filled up."""
    for first in range(0, len(examples), size):
        places = np.minimum(np.arange(first, first + size), len(examples) - 1)
        yield places, [examples[place] for place in places]


def _people(data: str, split: str, examples: Sequence[Mapping[str, Any]]) -> Int[np.ndarray, " n"]:
    """A number for the person of each clip; of its video, where the labels do not say who it is."""
    index = read_index(Path(data) / CLIPS_FOLDER / split)
    entries = [index[example["clip_id"]] for example in examples]
    who = [str(entry["labels"].get("identity", entry["source"])) for entry in entries]
    return np.unique(who, return_inverse=True)[1]


def read_identity(workdir: str, data: str, split: str, *, clips: int) -> dict[str, Any]:
    """How far the f_ID of a stage one keeps held-out people apart, given clean latents and, if it reads it, true depth.

    Args:
        workdir: Of the stage one.
        data: The dataset.
        split: Whose clips.
        clips: How many of them, from the first on.

    Returns:
        `identity_loss` and those of `people_apart`.

    Raises:
        UserError: When the workdir holds no f_ID, or there is no such dataset.
    """
    params, meta = open_params(workdir)
    if "identity" not in params:
        raise UserError(f"{workdir} holds no identity module: name the workdir of a stage one that trained one")
    sizes = identity_config(meta["config"]["identity"])
    network, weights = identity_network(sizes), to_first_device(params["identity"])
    fields = ("latent_mean", "depth_latent", "face_embedding", "face_mask")
    examples = list(itertools.islice(eval_examples(data, split, fields), clips))
    apply = jax.jit(lambda latents, depth: network.apply(weights, latents, depth if sizes.use_depth else None))
    found = [
        np.asarray(apply(*(np.stack([example[name] for example in batch]) for name in fields[:2])))
        for _, batch in _batches(examples, min(16, len(examples)))
    ]
    embeddings = np.concatenate(found)[: len(examples)]
    faces, mask = (np.stack([example[name] for example in examples]) for name in fields[2:])
    losses = np.asarray(identity_loss(jnp.asarray(embeddings), jnp.asarray(faces), jnp.asarray(mask)))
    shown = mask > 0
    apart = people_apart(embeddings, shown, _people(data, split, examples))
    return {"identity_loss": float(losses[shown.any(axis=1)].mean()), "clips": len(examples), **apart}


def explained(predicted: Float[np.ndarray, "n t h w c"], true: Float[np.ndarray, "n t h w c"]) -> float:
    """The share of the variance of `true`, about the mean of each channel, that a prediction explains; at most 1."""
    centred = true.astype(np.float64) - true.mean(axis=(0, 1, 2, 3), dtype=np.float64)
    return float(1 - np.square(predicted.astype(np.float64) - true).sum() / np.square(centred).sum())


def people_apart(
    embeddings: Float[np.ndarray, "n t e"], shown: Bool[np.ndarray, "n t"], people: Int[np.ndarray, " n"]
) -> dict[str, float | None]:
    """How far people are apart, over all pairs of latent frames of two clips.

    Args:
        embeddings: Unit length, of each latent frame.
        shown: Which of them show a face.
        people: Number of the person of each clip.

    Returns:
        `between` and `within`: mean cosine distance of two people, and of one person in two clips; `apart`, their
        difference (the paper's Table 3 has one of this kind, of a distance that it does not name); and `auc`, how often
        two frames of one person are nearer than two of different ones. None where there are no such pairs.
    """
    frames = embeddings[shown].astype(np.float64)
    clip = np.repeat(np.arange(len(people)), shown.sum(axis=1))
    first, second = np.triu_indices(len(frames), k=1)
    pairs = clip[first] != clip[second]
    distances = 1 - (frames @ frames.T)[first[pairs], second[pairs]]
    same = people[clip[first[pairs]]] == people[clip[second[pairs]]]
    within, between = distances[same], distances[~same]
    if not (len(within) and len(between)):
        return {"between": _mean(between), "within": _mean(within), "apart": None, "auc": None}
    ordered = np.sort(between)
    below, through = (np.searchsorted(ordered, within, side) for side in ("left", "right"))
    auc = 1 - (below + through).mean() / 2 / len(ordered)
    means = float(between.mean()), float(within.mean())
    return {"between": means[0], "within": means[1], "apart": means[0] - means[1], "auc": float(auc)}


def _mean(values: Float[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None
