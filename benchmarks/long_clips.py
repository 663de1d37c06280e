r"""Clips longer than the model's: seams between windows, and what becomes of face and sharpness with time.

  python -m sr_jax.demo.pretrained --output PRETRAINED
  python -m benchmarks.long_clips --checkpoint PRETRAINED/transformer --codec PRETRAINED/codec.safetensors \
      --faces PRETRAINED/judge --data DATA --output benchmarks/results/long_clips.json

Of the first frames and captions of a test split it makes clips of 1, 3 and 6 times the model's latent frames, in both
ways of `config.long.way`. The difference between two neighbouring frames is the mean over pixels, of 0 to 255. A seam
is a pair of frames where a window begins, or one before it ends; all other pairs lie inside windows. Every window has
its mean ID score (cosine to the face in its clip's first frame, by a judge) and sharpness (CPBD), so that both are told
against time. `device_mib` is the most that JAX's arrays held whenever frames came out of the decoder.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sr_jax.configs.sample import get_config
from sr_jax.data.pipeline import eval_examples
from sr_jax.demo.small_faces.teacher import load_small_faces
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
    parser.add_argument("--data", type=Path, required=True, help="dataset with a test split")
    parser.add_argument("--clips", type=int, default=8, help="clips of each kind")
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--overlap", type=float, default=0.5, help="config.long.overlap")
    parser.add_argument("--videos", type=Path, help="folder to write the clips to")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    examples = list(itertools.islice(eval_examples(args.data, "test"), args.clips))
    judge, found = load_small_faces(args.faces), {}
    for way, times in [("windows", _TIMES[0]), *itertools.product(_WAYS, _TIMES[1:])]:
        name = f"{way}, {times}x"
        found[name] = _measured(args, way, times, examples, judge)
        print(name, json.dumps({key: value for key, value in found[name].items() if key != "clips"}), flush=True)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(found, indent=1) + "\n")


def _measured(
    args: argparse.Namespace, way: str, times: int, examples: Sequence[dict[str, Any]], judge: FaceTeacher
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
        clips.append(_scores(video, borders, frames, ratio, judge))
    return _summary(clips) | {"frames": total, "seams": len(borders), "device_mib": held / 2**20, "clips": clips}


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


def _scores(video: np.ndarray, borders: Sequence[int], frames: int, ratio: int, judge: FaceTeacher) -> dict[str, Any]:
    differences = np.abs(np.diff(video.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    is_seam = np.isin(np.arange(1, len(video)), borders)
    # Where a latent frame begins a codec's frames differ most, and so begin all windows.
    begins = (np.arange(1, len(video)) % ratio == 1) & ~is_seam
    faces = find_faces(video, judge)
    cosines = identity_similarity(faces.embeddings, faces.found & faces.found[0], faces.embeddings[0])
    sharpness = np.array([cpbd(frame) for frame in video])
    pieces = np.array_split(np.arange(len(video)), max(round(len(video) / frames), 1))
    return {
        "seams": [round(float(value), 3) for value in differences[is_seam]],
        "inside_mean": float(differences[~is_seam].mean()),
        "inside_mean_at_latent_frames": float(differences[begins].mean()),
        "inside_largest": float(differences[~is_seam].max()),
        "id_score": [_mean(cosines[piece]) for piece in pieces],
        "faces_found": [float(faces.found[piece].mean()) for piece in pieces],
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
        "sharpness_by_window": over_time("sharpness"),
    }


if __name__ == "__main__":
    main()
