"""A tiny dataset of random records, for tests of everything that reads one."""

import dataclasses
from pathlib import Path

import numpy as np

from sr_jax.conversion.imported import read_record
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.records import Provenance, RecordSpec
from sr_jax.data.writing import write_dataset


def provenance(**codec) -> Provenance:
    """A provenance; keyword arguments replace fields of the codec."""
    return Provenance(
        codec={
            "name": "fake",
            "weight_hash": "c0",
            "scaling_factor": 1.0,
            "temporal_compression_ratio": 4,
            "spatial_compression_ratio": 4,
            "latent_channels": 16,
            **codec,
        },
        teachers={
            name: {"name": f"fake_{name}", "weight_hash": "t0"}
            for name in ("depth", "face_detector", "face_recogniser", "text")
        },
        clip={"num_frames": 5, "fps": 8.0, "height": 16, "width": 16, "noisy_images": 2, "seed": 0},
        software_version="0.0.0",
    )


def provenance_for(model: Path, **codec) -> Provenance:
    """That of a dataset that was made with the autoencoder and the text encoder of an import."""
    made = dataclasses.asdict(provenance())
    for identity in read_record(model).identities.values():
        section, _, name = identity["entry"].partition(".")
        entry = made[section][name] if name else made[section]
        entry |= {field: value for field, value in identity.items() if field not in ("entry", "weight_hashes")}
        entry["weight_hash"] = identity["weight_hashes"][0]
    return Provenance(**(made | {"codec": made["codec"] | codec}))


def record_spec(
    *,
    frames=5,
    height=16,
    width=16,
    latent_channels=16,
    temporal_ratio=4,
    spatial_ratio=4,
    noisy_images=2,
    embedding_dim=8,
    text_shape=(4, 12),
    more_fields=None,
) -> RecordSpec:
    """The records of clips of `frames` frames of `height` x `width` pixels, with `more_fields` of the same axes."""
    sizes = {
        "t": 1 + (frames - 1) // temporal_ratio,
        "h": height // spatial_ratio,
        "w": width // spatial_ratio,
        "c": latent_channels,
        "k": 1 + noisy_images,
        "e": embedding_dim,
        "l": text_shape[0],
        "d": text_shape[1],
    }
    return RecordSpec(CORE_FIELDS | (more_fields or {}), sizes)


def empty_prompt(spec: RecordSpec) -> np.ndarray:
    """A random embedding of the empty caption."""
    return np.random.default_rng(99).normal(size=spec.text_shape).astype(np.float32)


def random_records(spec: RecordSpec, *, clips: int, seed: int = 0, prefix: str = "clip", faceless: int = 0) -> list:
    """Random records; the first `faceless` of them have no face. `latent_mean[0, 0, 0, 0]` is the record's number."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(clips):
        arrays = {name: rng.normal(size=shape) for name, shape in spec.array_shapes().items()}
        arrays["latent_mean"][0, 0, 0, 0] = number
        arrays["latent_std"] = np.abs(arrays["latent_std"]) * 0.1
        arrays["face_mask"] = np.full(arrays["face_mask"].shape, float(number >= faceless))
        norm = np.linalg.norm(arrays["face_embedding"], axis=-1, keepdims=True)
        arrays["face_embedding"] = arrays["face_embedding"] / norm * arrays["face_mask"][:, None]
        name = f"{prefix}{number:03d}"
        records.append(
            spec.to_float16(arrays)
            | {
                "clip_id": name,
                "prompt": f"a person, number {number}",
                "source": f"{name}.mp4",
                "fps": 8.0,
                "source_first_frame": 0,
            }
        )
    return records


def write_synthetic_dataset(
    path: Path, *, clips=8, test_clips=0, seed=0, faceless=0, infinite=(), model=None, **spec_options
) -> Path:
    """Writes a dataset of random records under `path` and returns `path`.

    Args:
        path: Folder of the dataset.
        clips: Records in the split "train"; no such split when 0.
        test_clips: Records in the split "test"; no such split when 0.
        seed: Seed of the records' values.
        faceless: How many records of "train" have no face in any frame.
        infinite: The numbers of the records of "train" that hold a number that is not finite.
        model: An import whose autoencoder and text encoder it was made with; invented ones when None.
        **spec_options: Of `record_spec`: frames, height, width, latent_channels and so on.
    """
    spec = record_spec(**spec_options)
    channels = {"latent_channels": spec.latent_shape[-1]}
    made = provenance(**channels) if model is None else provenance_for(model, **channels)
    size = {name: spec_options[name] for name in ("height", "width") if name in spec_options}
    size |= {"num_frames": spec_options["frames"]} if "frames" in spec_options else {}
    splits = {"train": random_records(spec, clips=clips, seed=seed, faceless=faceless)} if clips else {}
    for number in infinite:
        splits["train"][number]["latent_mean"][-1, -1, -1, -1] = np.inf
    if test_clips:
        splits["test"] = random_records(spec, clips=test_clips, seed=seed + 1, prefix="held_out")
    write_dataset(
        path,
        spec=spec,
        provenance=dataclasses.replace(made, clip=made.clip | size),
        empty_prompt=empty_prompt(spec),
        splits={split: by_id(records) for split, records in splits.items()},
    )
    return path


def by_id(records: list) -> dict:
    """Records as `write_dataset` takes those of a split."""
    return {record["clip_id"]: record for record in records}
