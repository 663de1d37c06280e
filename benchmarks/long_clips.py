r"""Clips longer than the model's: seams between windows, and what becomes of face, body and sharpness with time.

  python -m sr_jax.demo.pretrained --output PRETRAINED
  python -m benchmarks.long_clips --checkpoint PRETRAINED/transformer --codec PRETRAINED/codec.safetensors \
      --faces PRETRAINED/judge --body_parts PARTS/body_parts.safetensors --data DATA \
      --output benchmarks/results/long_clips.json --page docs/sampling.md

Of the first frames and captions of a test split it makes clips of 1, 3 and 6 times the model's latent frames, in both
ways of `config.long.way`. The difference between two neighbouring frames is the mean over pixels, of 0 to 255. A seam
is a pair of frames where a window begins, or one before it ends; all other pairs lie inside windows. As clips calm down
with time, seams are also held against the same clip of a single window, which has none. Every window has
its mean ID score (cosine to the face in its clip's first frame, by a judge), the share of frames that lack a body part
which the first frame shows (by the judge of `python -m sr_jax.demo.body_parts`) and sharpness (CPBD), so that all are
told against time. `device_mib` is the most that JAX's arrays held whenever frames came out of the decoder.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.pages import publish
from sr_jax.configs.sample import get_config
from sr_jax.data.pipeline import eval_examples
from sr_jax.demo.body_parts.judge import SmallBodyPartJudge
from sr_jax.demo.small_faces.teacher import load_small_faces
from sr_jax.evaluation.body_parts import follow_parts, missing
from sr_jax.evaluation.judges import find_faces
from sr_jax.evaluation.metrics.cpbd import cpbd
from sr_jax.evaluation.metrics.id_score import identity_similarity
from sr_jax.generation.generator import Generator, load_generator
from sr_jax.generation.sampler import clip_key
from sr_jax.generation.windows import window_starts
from sr_jax.media.video import to_uint8, write_video
from sr_jax.teachers.base import FaceTeacher

_TIMES = (1, 3, 6)
_WAYS = ("windows", "continuation")


def main() -> None:
    """Makes the clips and writes the result after each kind of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="workdir of a transformer of the demo")
    parser.add_argument("--codec", type=Path, required=True, help="file of its codec")
    parser.add_argument("--faces", type=Path, required=True, help="folder of a face judge")
    parser.add_argument("--body_parts", type=Path, required=True, help="file of a judge of body parts")
    parser.add_argument("--data", type=Path, required=True, help="dataset with a test split")
    parser.add_argument("--clips", type=int, default=8, help="clips of each kind")
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--overlap", type=float, default=0.5, help="config.long.overlap")
    parser.add_argument("--videos", type=Path, help="folder to write the clips to")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="page whose table is written anew")
    args = parser.parse_args()
    examples = list(itertools.islice(eval_examples(args.data, "test"), args.clips))
    judges = load_small_faces(args.faces), SmallBodyPartJudge.load(args.body_parts)
    found: dict[str, dict[str, Any]] = {}
    for way, times in [("windows", _TIMES[0]), *itertools.product(_WAYS, _TIMES[1:])]:
        name = f"{way}, {times}x"
        found[name] = _measured(args, way, times, examples, *judges)
        if times > 1:
            found[name]["seams_above_the_largest_of_a_window"] = _above(found[name], found[f"windows, {_TIMES[0]}x"])
        print(name, json.dumps({key: value for key, value in found[name].items() if key != "clips"}), flush=True)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(found, indent=1) + "\n")
    if args.page:
        publish(args.page, "long_clips", table(found))


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the page, in Markdown."""
    lines = [
        "| clips | frames | seams: mean difference | at other latent frames | seams above all of one window "
        "| ID score, first and last window | frames with a face | frames that lack a part | sharpness (CPBD) | MiB |",
        "|-|-|-|-|-|-|-|-|-|-|",
    ]
    for name, kind in found.items():
        seams = [f"{kind['seam_mean']:.2f}" if kind["seams"] else "-", f"{kind['inside_mean_at_latent_frames']:.2f}"]
        above = f"{kind['seams_above_the_largest_of_a_window']} of {kind['seams_measured']}" if kind["seams"] else "-"
        cells = [name, str(kind["frames"]), *seams, above, _change(kind["id_score_by_window"], ".2f")]
        cells += [_change(kind[f"{key}_by_window"], ".0%") for key in ("faces_found", "parts_missing")]
        cells += [_change(kind["sharpness_by_window"], ".2f"), f"{kind['device_mib']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _change(values: Sequence[float], form: str) -> str:
    return f"{values[0]:{form}}" + (f", {values[-1]:{form}}" if len(values) > 1 else "")


def _measured(
    args: argparse.Namespace,
    way: str,
    times: int,
    examples: Sequence[dict[str, Any]],
    faces: FaceTeacher,
    body_parts: SmallBodyPartJudge,
) -> dict[str, Any]:
    config = get_config("small")
    config.codec.path, config.batch_size = str(args.codec), 1
    config.num_inference_steps, config.long.way, config.long.overlap = args.steps, way, args.overlap
    generator = load_generator(args.checkpoint, config, args.data)
    codec, frames = generator.pipeline.codec, generator.pipeline.clip.num_frames
    window = codec.latent_frames(frames)
    total = 1 + (times * window - 1) * codec.temporal_compression_ratio
    if times > 1:
        config.long.frames = total
        generator = load_generator(args.checkpoint, config, args.data)
    ratio = codec.temporal_compression_ratio
    borders = list(_borders(way, total, frames, window, args.overlap, ratio))
    clips, held = [], 0
    for example in examples:
        pieces = []
        for piece in _made(generator, example):
            pieces.append(to_uint8(piece))
            held = max(held, sum(array.nbytes for array in jax.live_arrays()))
        video = np.concatenate(pieces)
        if args.videos:
            folder = args.videos / f"{way}_{times}x"
            folder.mkdir(parents=True, exist_ok=True)
            write_video(folder / f"{example['clip_id']}.mp4", video, generator.pipeline.clip.fps)
        clips.append(_scores(video, borders, frames, ratio, faces, body_parts))
    return _summary(clips) | {"frames": total, "seams": len(borders), "device_mib": held / 2**20, "clips": clips}


def _above(long: dict[str, Any], single: dict[str, Any]) -> int:
    """Seams that are larger than every difference in the same clip of one window."""
    pairs = zip(long["clips"], single["clips"], strict=True)
    return sum(seam > alone["inside_largest"] for clip, alone in pairs for seam in clip["seams"])


def _made(generator: Generator, example: dict[str, Any]) -> Iterator[np.ndarray]:
    text = example["text_embedding"][None].astype(np.float32)
    image = example["image_latents"][:1].astype(np.float32)
    key = clip_key(0, example["clip_id"])[None]
    [video] = generator.pipeline.videos([example["clip_id"]], jnp.asarray(key), image, text, np.zeros_like(text))
    yield from video


def _borders(way: str, total: int, frames: int, window: int, overlap: float, ratio: int) -> Iterator[int]:
    """The first frame behind each seam."""
    if way == "continuation":
        yield from range(frames, total, frames - 1)
        return
    latents = 1 + (total - 1) // ratio
    starts = window_starts(latents, window, overlap)
    inner = set(starts[1:]) | {start + window for start in starts[:-1]}
    # The first video frame of a latent frame.
    yield from (1 + ratio * (latent - 1) for latent in sorted(inner))


def _scores(
    video: np.ndarray,
    borders: Sequence[int],
    frames: int,
    ratio: int,
    face_judge: FaceTeacher,
    body_parts: SmallBodyPartJudge,
) -> dict[str, Any]:
    differences = np.abs(np.diff(video.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    is_seam = np.isin(np.arange(1, len(video)), borders)
    # Where a latent frame begins a codec's frames differ most, and so begin all windows.
    begins = (np.arange(1, len(video)) % ratio == 1) & ~is_seam
    faces = find_faces(video, face_judge)
    cosines = identity_similarity(faces.embeddings, faces.found & faces.found[0], faces.embeddings[0])
    tracks = follow_parts(body_parts(video), len(body_parts.parts))
    lacking = missing(tracks, tracks)
    sharpness = np.array([cpbd(frame) for frame in video])
    pieces = np.array_split(np.arange(len(video)), max(round(len(video) / frames), 1))
    return {
        "seams": [round(float(value), 3) for value in differences[is_seam]],
        "inside_mean": float(differences[~is_seam].mean()),
        "inside_mean_at_latent_frames": float(differences[begins].mean()),
        "inside_largest": float(differences[~is_seam].max()),
        "id_score": [_mean(cosines[piece]) for piece in pieces],
        "faces_found": [float(faces.found[piece].mean()) for piece in pieces],
        "parts_missing": [float(lacking[piece].mean()) for piece in pieces],
        "sharpness": [float(sharpness[piece].mean()) for piece in pieces],
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _summary(clips: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the clips; of ID scores over those that have one."""

    def over_time(name: str) -> list[float | None]:
        columns = zip(*(clip[name] for clip in clips), strict=True)
        return [_mean(np.array([np.nan if value is None else value for value in column])) for column in columns]

    above = sum(value > clip["inside_largest"] for clip in clips for value in clip["seams"])
    seams = [value for clip in clips for value in clip["seams"]]
    return {
        "seam_mean": float(np.mean(seams)) if seams else None,
        "inside_mean": float(np.mean([clip["inside_mean"] for clip in clips])),
        "inside_mean_at_latent_frames": float(np.mean([clip["inside_mean_at_latent_frames"] for clip in clips])),
        "seams_above_the_largest_inside": above,
        "seams_measured": len(seams),
        "id_score_by_window": over_time("id_score"),
        "faces_found_by_window": over_time("faces_found"),
        "parts_missing_by_window": over_time("parts_missing"),
        "sharpness_by_window": over_time("sharpness"),
    }


if __name__ == "__main__":
    main()
