"""Preparing a dataset: plan everything, make features batch by batch, then write the records.

What a prepared folder holds:

    manifest.json           what made it and from which clips; written first
    clips/<split>/          the clips' own pixels and depth, and index.jsonl: the reference for evaluation (optional)
    clip_records/1.0.0/     the TFDS dataset
    work/                   features of finished clips while the preparation runs; removed at its end

Every file appears complete or not at all, and batches are the same whatever was finished before, so a killed
preparation that is started again ends with the same dataset.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sr_jax.data import builder, video
from sr_jax.data.records import ARRAY_FIELDS, Provenance
from sr_jax.errors import UserError
from sr_jax.preparation.features import ClipPixels, ClipReader, FeatureExtractor
from sr_jax.preparation.inputs import ClipPlan

MANIFEST_FILE = "manifest.json"
CLIPS_FOLDER = "clips"
INDEX_FILE = "index.jsonl"
_WORK_FOLDER = "work"
# How many differences an error lists.
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder is prepared from; a folder is only ever continued with an equal manifest.

    Attributes:
        provenance: What makes the records.
        keep_clips: Whether the clips' pixels are kept.
        clips: For each "split/clip_id", the digest of its source.
    """

    provenance: Provenance
    keep_clips: bool
    clips: dict[str, str]

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Reads what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**fields | {"provenance": Provenance(**fields["provenance"])})

    def differences(self, expected: "Manifest") -> list[str]:
        """One line for each difference to `expected`; empty when they agree."""
        lines = self.provenance.differences(expected.provenance)
        if self.keep_clips != expected.keep_clips:
            lines.append(f"keep_clips: dataset has {self.keep_clips}, expected {expected.keep_clips}")
        for name in sorted(self.clips.keys() | expected.clips.keys()):
            if name not in expected.clips:
                lines.append(f"clip {name}: in the dataset, not in the input")
            elif name not in self.clips:
                lines.append(f"clip {name}: in the input, not in the dataset")
            elif self.clips[name] != expected.clips[name]:
                lines.append(f"clip {name}: its video, depth or caption changed")
        return lines


def make_dataset(
    output: Path,
    *,
    plans: Sequence[ClipPlan],
    reader: ClipReader,
    extractor: FeatureExtractor,
    fps: float,
    batch_size: int,
    keep_clips: bool,
    progress: Callable[[int], Any],
) -> None:
    """Makes the dataset of `plans` in `output`, or finishes what an earlier call began there.

    Args:
        output: Folder of the dataset.
        plans: All clips, already checked.
        reader: Cuts clips out of their videos.
        extractor: Makes their features.
        fps: Frames a second of a clip.
        batch_size: Clips in one call of the extractor.
        keep_clips: Keep the clips' pixels and depth, as reference for evaluation.
        progress: Called with a number of clips whenever so many are finished.

    Raises:
        UserError: When `output` was begun with other input or settings.
    """
    manifest = Manifest(
        provenance=extractor.provenance,
        keep_clips=keep_clips,
        clips={f"{plan.source.split}/{plan.clip_id}": plan.source.digest for plan in plans},
    )
    _begin(output, manifest)
    if not builder.has_dataset(output):
        for start in range(0, len(plans), batch_size):
            batch = plans[start : start + batch_size]
            # A batch is done as a whole or again: the last bits of a result may depend on the rest of its batch.
            if not all(_features_path(output, plan).exists() for plan in batch):
                clips = [reader(plan) for plan in batch]
                for plan, pixels, arrays in zip(batch, clips, _extract(extractor, batch, clips, batch_size)):
                    if keep_clips:
                        _keep_clip(output, plan, pixels, fps)
                    _write_arrays(_features_path(output, plan), arrays)
            progress(len(batch))
        if keep_clips:
            _write_indices(output, plans)
        splits = {split: _records(output, chosen, fps) for split, chosen in _by_split(plans).items()}
        builder.write_dataset(
            output,
            spec=extractor.spec,
            provenance=extractor.provenance,
            empty_prompt=extractor.empty_prompt,
            splits=splits,
        )
    shutil.rmtree(output / _WORK_FOLDER, ignore_errors=True)


def _begin(output: Path, manifest: Manifest) -> None:
    file = output / MANIFEST_FILE
    if file.exists():
        differences = Manifest.from_json(file.read_text()).differences(manifest)
        if differences:
            raise UserError(
                f"{output} was begun with other input or settings ({'; '.join(differences[:_SHOWN])}): "
                "choose another output folder or remove it"
            )
        return
    # A hidden file is what a call leaves that was killed while it wrote the manifest.
    if output.exists() and (not output.is_dir() or any(not path.name.startswith(".") for path in output.iterdir())):
        raise UserError(f"{output} is not empty and holds no dataset: choose another output folder")
    output.mkdir(parents=True, exist_ok=True)
    _write_text(file, manifest.to_json())


def _extract(
    extractor: FeatureExtractor, batch: Sequence[ClipPlan], clips: Sequence[ClipPixels], batch_size: int
) -> list[dict[str, np.ndarray]]:
    """The features of a batch; the last batch is filled up, so that one shape is compiled."""
    missing = batch_size - len(batch)
    return extractor([*batch, *[batch[-1]] * missing], [*clips, *[clips[-1]] * missing])[: len(batch)]


def _keep_clip(output: Path, plan: ClipPlan, pixels: ClipPixels, fps: float) -> None:
    folder = output / CLIPS_FOLDER / plan.source.split
    folder.mkdir(parents=True, exist_ok=True)
    video.write_video(folder / f"{plan.clip_id}.mp4", pixels.frames, fps, lossless=True)
    _write_arrays(folder / f"{plan.clip_id}.depth.npz", {"disparity": pixels.disparity.astype(np.float16)})


def _write_indices(output: Path, plans: Sequence[ClipPlan]) -> None:
    for split, chosen in _by_split(plans).items():
        rows = [
            {
                "clip_id": plan.clip_id,
                "prompt": plan.source.prompt,
                "source": plan.source.path.name,
                "source_first_frame": int(plan.indices[0]),
                "labels": plan.source.labels,
            }
            for plan in chosen
        ]
        _write_text(output / CLIPS_FOLDER / split / INDEX_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def _records(output: Path, plans: Iterable[ClipPlan], fps: float) -> Iterator[dict[str, Any]]:
    for plan in plans:
        with np.load(_features_path(output, plan), allow_pickle=False) as arrays:
            yield {name: arrays[name] for name in ARRAY_FIELDS} | {
                "clip_id": plan.clip_id,
                "prompt": plan.source.prompt,
                "source": plan.source.path.name,
                "source_first_frame": int(plan.indices[0]),
                "fps": fps,
            }


def _by_split(plans: Sequence[ClipPlan]) -> dict[str, list[ClipPlan]]:
    splits: dict[str, list[ClipPlan]] = {}
    for plan in plans:
        splits.setdefault(plan.source.split, []).append(plan)
    return splits


def _features_path(output: Path, plan: ClipPlan) -> Path:
    return output / _WORK_FOLDER / plan.source.split / f"{plan.clip_id}.npz"


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
