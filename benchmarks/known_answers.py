r"""Scores of real clips that were spoilt on purpose: each score that should notice a fault does, the more the stronger.

  python -m sr_jax.demo.real_clips --output CLIPS --size 128 --frames 17
  python -m benchmarks.known_answers --clips CLIPS/train --output benchmarks/results/known_answers.json

Talking heads of two people, with the networks whose weights packages carry: I3D for FVD, a face detector and a
recogniser for ID; depth is the stand-in that reads silhouettes. The page docs/evaluation.md gets the table by --page.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import ml_collections
import numpy as np

from benchmarks import pages
from sr_jax.configs.evaluate import get_config
from sr_jax.configs.sections import SILHOUETTE_DEPTH
from sr_jax.evaluation.files import evaluate_files
from sr_jax.media.video import read_video, write_video

METRICS = (
    *("psnr", "ssim", "fvd", "motion_score", "temporal_flicker", "cpbd"),
    *("id_score", "id_worst", "structure_consistency"),
)
STRENGTHS = (0, 1, 2, 4)
# Which way a score goes when a clip is spoilt; +1: up.
WORSE = {
    "psnr": -1, "ssim": -1, "fvd": +1, "motion_score": +1, "temporal_flicker": -1, "cpbd": -1, "id_score": -1,
    "id_worst": -1, "structure_consistency": +1,
}  # fmt: skip
FPS = 8.0


class Example(NamedTuple):
    """A clip and what can be done to it.

    Attributes:
        frames: `[F, H, W, 3]`.
        boxes: Where its face is in each frame, `[F, 4]`, (x0, y0, x1, y1) in pixels.
        stranger: Frames of another person.
        stranger_boxes: Where that one's face is.
    """

    frames: np.ndarray
    boxes: np.ndarray
    stranger: np.ndarray
    stranger_boxes: np.ndarray


def blurred(clip: Example, strength: int) -> np.ndarray:
    """By a Gaussian of half a pixel times the strength."""
    return np.stack([cv2.GaussianBlur(f, (0, 0), 0.5 * strength) if strength else f for f in clip.frames])


def noisy(clip: Example, strength: int) -> np.ndarray:
    """With Gaussian noise of 4 of 255 times the strength."""
    noise = np.random.default_rng(0).standard_normal(clip.frames.shape) * 4 * strength
    return np.clip(clip.frames + noise, 0, 255).astype(np.uint8)


def dropped(clip: Example, strength: int) -> np.ndarray:
    """Of every five frames, so many stand still and show the one before."""
    return np.stack([clip.frames[i - min(i % 5, strength)] for i in range(len(clip.frames))])


def shuffled(clip: Example, strength: int) -> np.ndarray:
    """Each frame goes up to so many places away."""
    places = np.arange(len(clip.frames)) + np.random.default_rng(0).uniform(0, 1 + strength, len(clip.frames))
    return clip.frames[np.argsort(places)] if strength else clip.frames


def swapped(clip: Example, strength: int) -> np.ndarray:
    """In the last quarters of the clip, as many as the strength says, the face is another person's."""
    frames = clip.frames.copy()
    for number in range(len(frames) - len(frames) * strength // 4, len(frames)):
        source, target = (_inside(boxes[number], frames.shape) for boxes in (clip.stranger_boxes, clip.boxes))
        face = clip.stranger[number][source]
        size = frames[number][target].shape
        frames[number][target] = cv2.resize(face, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return frames


def warped(clip: Example, strength: int) -> np.ndarray:
    """Rows slide sideways in a wave of three pixels times the strength, which bends every outline."""
    height, width = clip.frames.shape[1:3]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack(
        [
            cv2.remap(
                frame,
                x + 3 * strength * np.sin(2 * np.pi * (y / 32 + number / 8)).astype(np.float32),
                y,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )
            for number, frame in enumerate(clip.frames)
        ]
    )


FAULTS: Mapping[str, Callable[[Example, int], np.ndarray]] = {
    "blur": blurred,
    "noise": noisy,
    "frames dropped": dropped,
    "frames shuffled": shuffled,
    "another face": swapped,
    "outlines warped": warped,
}

NOTICES = {
    "blur": ("psnr", "ssim", "fvd", "cpbd", "id_score"),
    "noise": ("psnr", "ssim", "fvd", "temporal_flicker"),
    "frames dropped": ("psnr", "ssim", "fvd", "motion_score"),
    "frames shuffled": ("psnr", "ssim", "fvd", "motion_score", "temporal_flicker"),
    "another face": ("psnr", "ssim", "id_score", "id_worst"),
    "outlines warped": ("psnr", "ssim", "fvd", "motion_score", "structure_consistency"),
}
"""Which scores should notice which fault."""


def _inside(box: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    x0, x1 = np.clip(np.round(box[[0, 2]]).astype(int), 0, shape[2])
    y0, y1 = np.clip(np.round(box[[1, 3]]).astype(int), 0, shape[1])
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def read_examples(folder: Path, count: int) -> dict[str, Example]:
    """So many clips of heads, half of either person, by name."""
    people: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.json")):
        labels = json.loads(path.read_text())
        if labels["kind"] == "head" and all(box[2] > box[0] for box in labels["face_boxes"]):
            people.setdefault(labels["identity"], []).append(path.stem)
    (one, ours), (two, theirs) = sorted(people.items())[:2]
    half = count // 2
    chosen = [names[:: max(1, len(names) // half)][:half] for names in (ours, theirs)]
    read = {name: _read(folder, name) for names in chosen for name in names}
    strangers = dict(zip([*chosen[0], *chosen[1]], [*chosen[1], *chosen[0]], strict=True))
    print(f"{half} clips of {one}, {half} of {two}")
    return {name: Example(*read[name], *read[strangers[name]]) for name in read}


def _read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    labels = json.loads((folder / f"{name}.json").read_text())
    return read_video(folder / f"{name}.mp4")[0], np.array(labels["face_boxes"], np.float64)


def score(
    examples: Mapping[str, Example],
    spoil: Callable[[Example, int], np.ndarray],
    strength: int,
    config: ml_collections.ConfigDict,
) -> dict[str, float]:
    """Every metric's value over all clips, spoilt with this strength."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {kind: Path(folder) / kind for kind in ("generated", "reference")}
        for path in folders.values():
            path.mkdir()
        for name, example in examples.items():
            write_video(folders["generated"] / f"{name}.mp4", spoil(example, strength), FPS, lossless=True)
            write_video(folders["reference"] / f"{name}.mp4", example.frames, FPS, lossless=True)
        results = evaluate_files(config, **folders, output=Path(folder) / "metrics.json")
    return {metric.name: results.means["generated"][metric.score.key] for metric in results.metrics}


def in_order(values: list[float], sign: int) -> bool:
    """Whether a score gets worse from strength to strength."""
    spread = [sign * value for value in values]
    return all(a < b for a, b in pairwise(spread))


def table(rows: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Markdown: the values of each score that should notice a fault, from strength to strength."""
    lines = ["| fault | score | 0, 1, 2, 4 | worse each time |", "|---|---|---|---|"]
    for fault, names in NOTICES.items():
        for name in names:
            values = rows[fault][name]
            # Without the rounding errors of a zero; -0 + 0 is 0.
            shown = ", ".join(f"{round(value, 6) + 0.0:.4g}" for value in values)
            lines.append(f"| {fault} | `{name}` | {shown} | {'yes' if in_order(values, WORSE[name]) else 'no'} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="a split that sr_jax.demo.real_clips wrote")
    parser.add_argument("--count", type=int, default=8, help="clips that are scored")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="page whose table is written anew")
    args = parser.parse_args()
    config = get_config("paper")
    config.metrics = METRICS
    config.depth.name = SILHOUETTE_DEPTH
    examples = read_examples(args.clips, args.count)
    rows = {}
    for fault, spoil in FAULTS.items():
        spoilt = [score(examples, spoil, strength, config) for strength in STRENGTHS]
        rows[fault] = {name: [values[name] for values in spoilt] for name in METRICS}
    args.output.write_text(
        json.dumps({"clips": len(examples), "strengths": STRENGTHS, "values": rows}, indent=1) + "\n"
    )
    print(table(rows))
    if args.page:
        pages.publish(args.page, "known answers", table(rows))


if __name__ == "__main__":
    main()
