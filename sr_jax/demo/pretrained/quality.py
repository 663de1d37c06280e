"""How well the alignment modules read latents of held-out people, for the model card."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sr_jax.alignment.identity import identity_config, identity_network
from sr_jax.alignment.structure import structure_network
from sr_jax.checkpoints.networks import structure_backbone_of
from sr_jax.checkpoints.reading import open_params
from sr_jax.data.builder import open_dataset
from sr_jax.data.clips import CLIPS_FOLDER, read_index
from sr_jax.demo.fit_teachers.verification import verification_auc
from sr_jax.parallel.batches import to_first_device

_FIELDS = ("clip_id", "latent_mean", "depth_latent", "face_mask")
_BATCH = 16
NOISE_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where a module of noisy latents is measured: 0 is the clean clip's time, 1 that of pure noise."""


def explained_variance(workdir: Path, data: Path, split: str = "test") -> dict[str, float]:
    """The part of the variance of `d0` that a structure module explains: 1 - mean((f_S(z0) - d0)^2) / var(d0).

    The variance is that about each channel's mean over the split.

    Args:
        workdir: Of the stage one that trained it.
        data: The dataset.
        split: Of held-out people.

    Returns:
        By the share of noise in what it reads: only `0.0` for a module of clean latents.

    Raises:
        UserError: When the workdir has no structure module, or there is no such split.
    """
    params, meta = open_params(workdir)
    config = meta["config"]
    backbone = structure_backbone_of(config)
    module = structure_network(backbone, config["structure_text"], dtype=config["dtype"])
    structure, process = to_first_device(params["structure"]), backbone.process(config["schedule"])
    noisy = config["structure_input"] == "noisy"

    def read(latents: Array, share: float, key: Array) -> Array:
        if not noisy:
            return module.apply(structure, latents)
        times = process.times_at(jnp.full(len(latents), share))
        noise = jax.random.normal(key, latents.shape)
        return module.apply(structure, process.add_noise(latents, noise, times), times)

    return {
        str(share): _explained(jax.jit(read, static_argnums=1), share, data, split)
        for share in (NOISE_SHARES if noisy else (0.0,))
    }


def _explained(read: Callable[[Array, float, Array], Array], share: float, data: Path, split: str) -> float:
    error, values = 0.0, []
    for number, batch in enumerate(_batches(data, split)):
        depth = batch["depth_latent"]
        read_depth = np.asarray(read(batch["latent_mean"], share, jax.random.key(number)))[: len(batch["clip_id"])]
        error += float(((read_depth - depth[: len(read_depth)]) ** 2).sum())
        values.append(depth[: len(read_depth)].reshape(-1, depth.shape[-1]))
    channels = np.concatenate(values)
    return 1 - error / float(((channels - channels.mean(axis=0)) ** 2).sum())


def identity_auc(workdir: Path, data: Path, split: str = "test") -> float:
    """How well `f_ID` tells people apart in latents: `verification_auc` of its embeddings over pairs of two clips.

    Latent frames count in which the teacher found a face. A module with depth input is given the true `d0`.

    Args:
        workdir: Of the stage one that trained it.
        data: The dataset, with clips whose labels say who is seen.
        split: Of held-out people.

    Raises:
        UserError: When the workdir has no identity module, or there is no such split.
    """
    params, meta = open_params(workdir)
    sizes = identity_config(meta["config"]["identity"])
    module, identity = identity_network(sizes, dtype=meta["config"]["dtype"]), to_first_device(params["identity"])

    @jax.jit
    def embed(latents: Float[Array, "b t h w c"], depth: Float[Array, "b t h w c"]) -> Float[Array, "b t e"]:
        return module.apply(identity, latents, depth if sizes.use_depth else None)

    people = {clip: entry["labels"]["identity"] for clip, entry in read_index(data / CLIPS_FOLDER / split).items()}
    embeddings, identities, clips = [], [], []
    for batch in _batches(data, split):
        found = np.asarray(embed(batch["latent_mean"], batch["depth_latent"]))
        for row, name in enumerate(batch["clip_id"]):
            shown = batch["face_mask"][row] > 0
            embeddings.append(found[row][shown])
            identities += [str(people[name])] * int(shown.sum())
            clips += [len(embeddings)] * int(shown.sum())
    return verification_auc(np.concatenate(embeddings).astype(np.float64), identities, clips)


def _batches(data: Path, split: str) -> Iterator[dict[str, Any]]:
    """Records in batches of one size, the last one filled up; `clip_id` has those that count."""
    records = open_dataset(data, split, _FIELDS)
    for start in range(0, len(records), _BATCH):
        rows = [records[index] for index in range(start, min(start + _BATCH, len(records)))]
        filled = rows + rows[-1:] * (_BATCH - len(rows))
        arrays = {
            name: np.stack([row[name] for row in filled]).astype(np.float32) for name in _FIELDS if name != "clip_id"
        }
        yield arrays | {"clip_id": [row["clip_id"].decode() for row in rows]}
