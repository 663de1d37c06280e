"""What the measures of bodies make of clips that are deformed on purpose: with exact maps of parts, and with a judge's.

  python -m sr_jax.demo.people --output VIDEOS --split test --clips 64
  python -m benchmarks.body_part_judge --videos VIDEOS/test --judge JUDGE/body_parts.safetensors \
      --output benchmarks/results/body_part_judge.json

VIDEOS are held-out people, JUDGE what `python -m sr_jax.demo.body_parts` wrote. An arm is deformed in a share of the
frames of each clip, the dose; with --faces FOLDER (a face judge) faces are exchanged with those of other people, too.
A measure is of use where it rises (ID score: falls) with the dose; dose 0 is what it is on real clips.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sr_jax.demo.body_parts.fitting import PartExamples, part_metrics, read_part_examples
from sr_jax.demo.body_parts.judge import SmallBodyPartJudge
from sr_jax.demo.labelled_clips import LabelledClips, read_labelled_clips
from sr_jax.demo.people.deformations import DEFORMATIONS, deform, exchange_face
from sr_jax.demo.people.parts import PARTS
from sr_jax.demo.small_faces.teacher import load_small_faces
from sr_jax.evaluation.body_parts import area_jumps, doubled, follow_parts, missing, place_jumps, split
from sr_jax.evaluation.judges import find_faces
from sr_jax.evaluation.metrics.base import mean_where_defined
from sr_jax.evaluation.metrics.id_score import identity_similarity
from sr_jax.outputs import write_text

DOSES = (0.0, 0.25, 0.5, 1.0)
"""Shares of the frames after the first that are deformed."""

Maps = np.ndarray


def measures(maps: Maps, real: Maps) -> dict[str, float | None]:
    """Every measure of one clip, in the units of the metrics."""
    tracks, reference = (follow_parts(item, len(PARTS)) for item in (maps, real))
    shares = {"parts_missing": missing, "parts_split": split, "parts_doubled": doubled}
    values = {name: 100 * float(share(tracks, reference).mean()) for name, share in shares.items()}
    values["part_area_jumps"] = mean_where_defined(area_jumps(tracks, reference))
    values["part_place_jumps"] = mean_where_defined(place_jumps(tracks, maps.shape[1]))
    return values


def mean_of(rows: list[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Means over clips."""
    return {name: mean_where_defined([row[name] for row in rows]) for name in rows[0]}


def deformed_arms(clips: LabelledClips, maps: Maps, judge: Callable[[np.ndarray], Maps]) -> dict[str, list[dict]]:
    """Each measure by deformation and dose, with exact maps and with those of the judge."""
    seen = [judge(frames) for frames in clips.frames]
    result: dict[str, list[dict]] = {}
    for (name, deformation), dose in itertools.product(DEFORMATIONS.items(), DOSES):
        pairs = [
            deform(frames, parts, deformation, dose, seed=number)
            for number, (frames, parts) in enumerate(zip(clips.frames, maps, strict=True))
        ]
        exact = mean_of([measures(parts, real) for (_, parts), real in zip(pairs, maps, strict=True)])
        judged = mean_of([measures(judge(frames), real) for (frames, _), real in zip(pairs, seen, strict=True)])
        result.setdefault(name, []).append({"dose": dose, "exact": exact, "judged": judged})
        print(f"{name}, dose {dose}: {judged}", flush=True)
    return result


def exchanged_faces(clips: LabelledClips, folder: Path) -> list[dict]:
    """ID score by dose; each clip is given the faces of one of another person."""
    judge, rows = load_small_faces(folder), []
    others = [
        next(
            other for other in (*range(number + 1, len(clips.names)), *range(number)) if who != clips.identities[other]
        )
        for number, who in enumerate(clips.identities)
    ]
    for dose in DOSES:
        scores = []
        for number, other in enumerate(others):
            mine, theirs = ((clips.frames[i], clips.face_boxes[i]) for i in (number, other))
            found = find_faces(exchange_face(*mine, *theirs, dose, seed=number), judge)
            present = found.found & found.found[0] & clips.face_visible[number]
            scores.append(mean_where_defined(identity_similarity(found.embeddings, present, found.embeddings[0])))
        rows.append({"dose": dose, "id_score": mean_where_defined(scores)})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measures, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    clips, judge = read_labelled_clips(options.videos), SmallBodyPartJudge.load(options.judge)
    examples: PartExamples = read_part_examples(options.videos)
    result = {
        "clips": len(clips.names),
        "people": len(set(clips.identities)),
        "frames": list(clips.frames.shape[1:4]),
        "judge": {"weight_hash": judge.weight_hash, **part_metrics(judge, examples)},
        "arms": deformed_arms(clips, examples.maps.reshape(clips.frames.shape[:-1]), judge),
    }
    if options.faces:
        result["faces"] = exchanged_faces(clips, options.faces)
    if options.output:
        write_text(options.output, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
