"""Loads the judges and lets them score a folder of generated clips."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import tqdm
from jaxtyping import Array, Float

from sr_jax import sections
from sr_jax.alignment.structure import structure_network
from sr_jax.backbones import load_codec
from sr_jax.checkpoints.networks import structure_backbone_of
from sr_jax.checkpoints.reading import open_params
from sr_jax.configs.evaluate import KEYS
from sr_jax.data.clips import read_index
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.evaluation.judges import Judges, depth_reader
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, SetMetric, build_available, conventions, describe
from sr_jax.evaluation.results import Results, collect, write_results
from sr_jax.evaluation.scoring import (
    ClipScores,
    generated_clips,
    generated_ids,
    real_clips,
    score_clips,
)
from sr_jax.generation.clip_folder import CODEC_HASH, FACES_HASH, read_settings
from sr_jax.media.video import read_video, write_video
from sr_jax.outputs import require_writable
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
        provenance: Of the dataset that the structure judge was trained on; empty without it.
        structure_workdir: Where the structure judge was trained; None without it.
    """

    judges: Judges
    about: dict[str, Any]
    provenance: dict[str, Any]
    structure_workdir: Path | None


def evaluate(
    config: ml_collections.ConfigDict, *, generated: Path, reference: Path, output: Path, step: int | None = None
) -> Results:
    """Scores the clips of a folder and writes the results, with the depth that the judge read beside them.

    Args:
        config: Of `configs/evaluate.py`.
        generated: Folder that `sample` wrote.
        reference: `DATA/clips/SPLIT` of the dataset it was sampled from.
        output: JSON file to write.
        step: Which checkpoint of the structure judge; the newest when None.

    Raises:
        UserError: For a config that is not as it is declared, an output that cannot be written, and as
            `build_metrics`, `load_judges` and `judge_folder`.
    """
    # First what takes no time.
    check(KEYS, config)
    if output.suffix != ".json" or output.is_dir():
        raise UserError(f"--output {output} must be a file that ends in .json")
    read_settings(generated)
    require_writable(output.parent)
    metrics, left_out = build_available(config)
    loaded = load_judges(config, {judge for metric in metrics.values() for judge in metric.needs}, step=step)
    depth_folder = output.parent / DEPTH_FOLDER
    results = judge_folder(loaded, metrics, generated, reference, depth_folder, batch_size=config.batch_size)
    results.about["left_out"] = left_out
    write_results(results, output)
    return results


def load_judges(config: ml_collections.ConfigDict, needed: Collection[str], *, step: int | None = None) -> LoadedJudges:
    """Loads the judges that `configs/evaluate.py` describes.

    Args:
        config: The config.
        needed: Those of `metrics.base.NEEDS` that metrics have; other judges are not loaded.
        step: Which checkpoint of the structure judge; the newest when None.

    Raises:
        UserError: When a path is missing or wrong, the structure judge reads latents of another codec or noisy ones,
            the judge of faces is the very teacher of the dataset, or a metric needs depth read in video files.
    """
    if "depth" in needed:
        raise UserError("a metric reads depth in video files: give a folder with the mp4 files alone, or take it out")
    if "structure" in needed and not config.structure:
        raise UserError("config.structure is empty: name the workdir of a stage one run with another seed")
    codec = load_codec(config.codec)
    loaded = LoadedJudges(Judges(codec), {"codec": _identify(codec)}, {}, None)
    if "structure" in needed:
        loaded = _with_structure(loaded, config.structure, step)
    if "faces" in needed:
        loaded = _with_faces(loaded, config.faces)
    if "body_parts" in needed:
        loaded = _with_body_parts(loaded, config.body_parts)
    return loaded


def _with_structure(loaded: LoadedJudges, workdir: str, step: int | None) -> LoadedJudges:
    params, meta = open_params(workdir, step=step)
    trained, provenance, codec = meta["config"], meta["provenance"], loaded.judges.codec
    if "structure" not in params or trained["structure_input"] != "clean":
        raise UserError(f"{workdir} holds no structure module of clean latents: train one with stage one")
    if provenance["codec"]["weight_hash"] != codec.weight_hash:
        raise UserError(f"the structure judge in {workdir} reads latents of another codec than config.codec")
    module = structure_network(structure_backbone_of(trained), trained["structure_text"], dtype=trained["dtype"])
    structure = to_first_device(params["structure"])

    def read_structure(latents: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        return module.apply(structure, latents)

    # Datasets made before it could be chosen are of the default colours.
    colour_map = provenance["teachers"]["depth"].get("colour_map", PUBLISHED_COLOURS.colour_map)
    reader = depth_reader(read_structure, codec)
    judges = dataclasses.replace(loaded.judges, read_structure=reader, colour_map=colour_map)
    about = {"structure": {"workdir": workdir, "seed": trained["seed"], "step": meta["step"]}}
    return LoadedJudges(judges, loaded.about | about, provenance, Path(workdir))


def _with_faces(loaded: LoadedJudges, section: ml_collections.ConfigDict) -> LoadedJudges:
    faces = load_face_teacher(section)
    supervised = loaded.provenance.get("teachers", {}).get("face_recogniser", {})
    if supervised.get("weight_hash") == faces.recogniser.weight_hash:
        raise UserError("the judge of faces is the teacher that supervised: name another one as config.faces")
    about = {"face_detector": _identify(faces.detector), "face_recogniser": _identify(faces.recogniser)}
    return dataclasses.replace(
        loaded, judges=dataclasses.replace(loaded.judges, faces=faces), about=loaded.about | about
    )


def _with_body_parts(loaded: LoadedJudges, section: ml_collections.ConfigDict) -> LoadedJudges:
    judge = sections.load(section, "body_parts", "judge of body parts", package="sr_jax.evaluation")
    about = loaded.about | {"body_parts": _identify(judge)}
    return dataclasses.replace(loaded, judges=dataclasses.replace(loaded.judges, body_parts=judge), about=about)


def judge_folder(
    loaded: LoadedJudges,
    metrics: Mapping[str, ClipMetric | SetMetric],
    generated: Path,
    reference: Path,
    depth_folder: Path,
    *,
    batch_size: int,
) -> Results:
    """Scores the clips of a folder, and the real clips as the codec encodes them.

    Args:
        loaded: The judges that the metrics need.
        metrics: What to measure, by the names in the config.
        generated: Folder that `sample` wrote.
        reference: `DATA/clips/SPLIT` of the dataset it was sampled from.
        depth_folder: Where to write the depth read in each generated clip, if a judge reads it.
        batch_size: Clips in one call of the networks.

    Raises:
        UserError: For a missing or damaged file, clips made with another codec, or when a judge supervised them.
    """
    settings, index = read_settings(generated), read_index(reference)
    _require_fitting(loaded, settings, generated)
    clip_ids = generated_ids(generated, index)
    _, fps = read_video(reference / f"{clip_ids[0]}.mp4")

    def scored(clips: Iterator[Clip], **options: Any) -> Iterator[tuple[str, ClipScores]]:
        clips = (dataclasses.replace(clip, prompt=index[clip.clip_id]["prompt"]) for clip in clips)
        scores = score_clips(clips, loaded.judges, list(metrics.values()), batch_size=batch_size, **options)
        return iter(tqdm.tqdm(scores, total=len(clip_ids), unit="clip", desc="scoring"))

    ours = []
    for clip_id, scores in scored(generated_clips(generated, reference, clip_ids)):
        if scores.structure is not None:
            _write_depth(depth_folder / f"{clip_id}.mp4", scores.structure, fps)
        # What is in the files by now is large.
        ours.append(dataclasses.replace(scores, structure=None))
    real_ones = scored(real_clips(reference, clip_ids, loaded.judges.codec), with_real=True)
    real = [dataclasses.replace(scores, structure=None) for _, scores in real_ones]
    about = {"generated": str(generated), "reference": str(reference), "fps": fps}
    about |= {"made_by": settings, "judges": loaded.about, "provenance": loaded.provenance}
    about |= {"conventions": conventions(metrics)}
    scored_clips = {"generated": ours, "codec": real}
    return collect(describe(metrics), [index[clip_id] for clip_id in clip_ids], scored_clips, about)


def _write_depth(path: Path, disparity: Float[np.ndarray, "f h w"], fps: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, INFERNO[np.round(disparity * 255).astype(np.uint8)], fps)


def _require_fitting(loaded: LoadedJudges, settings: Mapping[str, Any], generated: Path) -> None:
    """Checks judges against what made the clips, as far as `settings` say it: they did not always hold hashes."""
    judge, faces = loaded.structure_workdir, loaded.judges.faces
    # Any objective's module: one stage one run trains several.
    for supervised in filter(None, settings["frozen"].values()):
        if judge is not None and Path(supervised).resolve() == judge.resolve():
            raise UserError(f"{supervised} supervised the clips in {generated}: name another structure judge")
    if faces is not None and settings.get(FACES_HASH) == faces.recogniser.weight_hash:
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


def _identify(network: Any) -> dict[str, str]:
    return {"name": network.name, "weight_hash": network.weight_hash}
