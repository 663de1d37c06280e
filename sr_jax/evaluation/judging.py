"""Loads the judges and lets them score a folder of generated clips."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import tqdm
from jaxtyping import Array, Float

from sr_jax.alignment.structure import structure_network
from sr_jax.backbones import load_codec
from sr_jax.checkpoints.networks import structure_backbone_of
from sr_jax.checkpoints.reading import open_params
from sr_jax.data.clips import read_index
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.structure import depth_reader
from sr_jax.evaluation.results import Results, collect
from sr_jax.evaluation.scoring import (
    Clip,
    ClipScores,
    Judges,
    generated_clips,
    generated_ids,
    real_clips,
    score_clips,
)
from sr_jax.generation.generator import CODEC_HASH, FACES_HASH, read_settings
from sr_jax.media.video import read_video, write_video
from sr_jax.parallel.batches import to_first_device
from sr_jax.teachers.depth.colours import INFERNO, PUBLISHED_COLOURS
from sr_jax.teachers.registry import load_face_teacher

DEPTH_FOLDER = "depth"
"""Beside the results: the depth that the judge read in each generated clip, as coloured videos."""


@dataclasses.dataclass(frozen=True)
class LoadedJudges:
    """The judges, and what tells them from the teachers.

    Attributes:
        judges: What scores.
        about: Names and hashes, for the results.
        provenance: Of the dataset that the structure judge was trained on.
        structure_workdir: Where the structure judge was trained.
    """

    judges: Judges
    about: dict[str, Any]
    provenance: dict[str, Any]
    structure_workdir: Path


def load_judges(config: ml_collections.ConfigDict) -> LoadedJudges:
    """Loads the judges that `configs/evaluate.py` describes.

    Raises:
        UserError: When a path is missing or wrong, the structure judge reads latents of another codec or noisy ones, or
            the judge of faces is the very teacher of the dataset.
    """
    if not config.structure:
        raise UserError("config.structure is empty: name the workdir of a stage one run with another seed")
    codec, faces = load_codec(config.codec), load_face_teacher(config.faces)
    params, meta = open_params(config.structure)
    provenance = meta["provenance"]
    if "structure" not in params or meta["config"]["structure_input"] != "clean":
        raise UserError(f"{config.structure} holds no structure module of clean latents: train one with stage one")
    if provenance["codec"]["weight_hash"] != codec.weight_hash:
        raise UserError(f"the structure judge in {config.structure} reads latents of another codec than config.codec")
    if provenance["teachers"]["face_recogniser"]["weight_hash"] == faces.recogniser.weight_hash:
        raise UserError("the judge of faces is the teacher that supervised: name another one as config.faces")
    trained = meta["config"]
    module = structure_network(structure_backbone_of(trained), trained["structure_text"], dtype=trained["dtype"])
    structure = to_first_device(params["structure"])

    def read_structure(latents: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        return module.apply(structure, latents)

    about = {
        "structure": {"workdir": config.structure, "seed": meta["config"]["seed"], "step": meta["step"]},
        "face_detector": _identify(faces.detector),
        "face_recogniser": _identify(faces.recogniser),
        "codec": _identify(codec),
    }
    # Datasets made before it could be chosen are of the default colours.
    colour_map = provenance["teachers"]["depth"].get("colour_map", PUBLISHED_COLOURS.colour_map)
    judges = Judges(codec, depth_reader(read_structure, codec), faces, colour_map)
    return LoadedJudges(judges, about, provenance, Path(config.structure))


def judge_folder(
    loaded: LoadedJudges, generated: Path, reference: Path, depth_folder: Path, *, batch_size: int
) -> Results:
    """Scores the clips of a folder, and the real clips as the codec encodes them.

    Args:
        loaded: The judges.
        generated: Folder that `sample` wrote.
        reference: `DATA/clips/SPLIT` of the dataset it was sampled from.
        depth_folder: Where to write the depth read in each generated clip.
        batch_size: Clips in one call of the networks.

    Raises:
        UserError: For a missing or damaged file, clips made with another codec, or when a judge supervised them.
    """
    settings, index = read_settings(generated), read_index(reference)
    _require_fitting(loaded, settings, generated)
    clip_ids = generated_ids(generated, index)
    _, fps = read_video(reference / f"{clip_ids[0]}.mp4")
    depth_folder.mkdir(parents=True, exist_ok=True)

    ours = []
    for clip_id, scores in _scored(generated_clips(generated, reference, clip_ids), loaded, clip_ids, batch_size):
        colours = INFERNO[np.round(scores.depth * 255).astype(np.uint8)]
        write_video(depth_folder / f"{clip_id}.mp4", colours, fps)
        ours.append(scores)
    real_ones = real_clips(reference, clip_ids, loaded.judges.codec)
    real = [scores for _, scores in _scored(real_ones, loaded, clip_ids, batch_size)]
    about = {"generated": str(generated), "reference": str(reference), "fps": fps}
    about |= {"made_by": settings, "judges": loaded.about, "provenance": loaded.provenance}
    return collect([index[clip_id] for clip_id in clip_ids], ours, real, about)


def _require_fitting(loaded: LoadedJudges, settings: Mapping[str, Any], generated: Path) -> None:
    """Checks judges against what made the clips, as far as `settings` say it: they did not always hold hashes."""
    supervised = settings["frozen"].get("structure", "")
    if supervised and Path(supervised).resolve() == loaded.structure_workdir.resolve():
        raise UserError(f"{supervised} supervised the clips in {generated}: name another structure judge")
    if settings.get(FACES_HASH) == loaded.judges.faces.recogniser.weight_hash:
        raise UserError(
            f"the judge of faces is the teacher that supervised the clips in {generated}: name another one as "
            "config.faces"
        )
    codec_hash = loaded.judges.codec.weight_hash
    if settings.get(CODEC_HASH, codec_hash) != codec_hash:
        raise UserError(
            f"the clips in {generated} were made with a codec of hash {settings[CODEC_HASH]}, config.codec has "
            f"{codec_hash}: name the codec that they were made with"
        )


def _scored(
    clips: Iterator[Clip], loaded: LoadedJudges, clip_ids: Sequence[str], batch_size: int
) -> Iterator[tuple[str, ClipScores]]:
    scores = score_clips(clips, loaded.judges, batch_size=batch_size)
    return iter(tqdm.tqdm(scores, total=len(clip_ids), unit="clip", desc="scoring"))


def _identify(network: Any) -> dict[str, str]:
    return {"name": network.name, "weight_hash": network.weight_hash}
