"""Scores any two folders of clips: no dataset, no codec, and only the judges that a metric looks at.

All files are decoded once before anything is scored, so that every clip that cannot be scored is named at once. Then
clips are read and scored one by one: memory does not grow with their number.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import tqdm

from sr_jax.configs.evaluate import KEYS
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.evaluation.aligning import RULES, SIZE_RULE, Alignment, align, read_pair, scan_clip
from sr_jax.evaluation.file_judges import FileJudges, load_judges
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, SetMetric, build_available, conventions, describe
from sr_jax.evaluation.pairing import Pair, Pairing, pair_clips
from sr_jax.evaluation.results import Results, collect, write_results
from sr_jax.evaluation.scoring import ClipScores, measure_clip
from sr_jax.media.decoding import VideoInfo
from sr_jax.outputs import require_writable

_NAMED = 3


def evaluate_files(
    config: ml_collections.ConfigDict, *, generated: Path, reference: Path, output: Path, table: Path | None = None
) -> Results:
    """Scores the clips of a folder against those of another and writes the results.

    Args:
        config: Of `configs/evaluate.py`.
        generated: Folder of the clips that are scored.
        reference: Folder of the real ones.
        output: JSON file to write.
        table: Which belong together; by their names when None (see `pairing`).

    Raises:
        UserError: For a config that is not as it is declared, an output that cannot be written, as `pair_clips`,
            `plan_alignments`, `build_metrics` and `load_judges`, and for a metric of what video files do not hold.
    """
    # First what takes no time.
    check(KEYS, config)
    if output.suffix != ".json" or output.is_dir():
        raise UserError(f"--output {output} must be a file that ends in .json")
    require_writable(output.parent)
    pairing = pair_clips(generated, reference, table)
    metrics, left_out = build_available(config)
    judges = load_judges(config, metrics)
    _require_prompts(pairing.pairs, metrics)
    alignments = plan_alignments(pairing.pairs, by=config.align, frames_fps=config.frames_fps)
    _require_length(pairing.pairs, alignments, metrics)
    scored = score_pairs(pairing.pairs, alignments, judges, list(metrics.values()))
    about = {"generated": str(generated), "reference": str(reference), "fps": alignments[0].fps}
    about |= {"judges": judges.about, "conventions": conventions(metrics), "left_out": left_out}
    about |= _rules(pairing, config.align)
    entries = [_entry(pair, alignment) for pair, alignment in zip(pairing.pairs, alignments, strict=True)]
    results = collect(describe(metrics), entries, scored, about)
    write_results(results, output)
    return results


def plan_alignments(pairs: Sequence[Pair], *, by: str, frames_fps: float) -> list[Alignment]:
    """Decodes all clips once and says which frames of each pair are compared.

    Args:
        pairs: The pairs.
        by: See `aligning.RULES`.
        frames_fps: Frames a second of folders of frames.

    Raises:
        UserError: Naming every pair of which a clip cannot be read, or too few frames can be compared.
    """
    scanned: dict[Path, VideoInfo] = {}
    alignments, problems = [], []
    for pair in tqdm.tqdm(pairs, unit="clip", desc="reading"):
        try:
            for path in (pair.generated, pair.reference):
                if path not in scanned:
                    scanned[path] = scan_clip(path, frames_fps)
            alignments.append(align(scanned[pair.generated], scanned[pair.reference], by=by))
        except UserError as error:
            problems.append(f"{pair.name}: {error}")
    if problems:
        rest = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise UserError(
            f"{len(problems)} of {len(pairs)} clips cannot be scored; mend or remove them: "
            f"{'; '.join(problems[:_NAMED])}{rest}"
        )
    return alignments


def _require_prompts(pairs: Sequence[Pair], metrics: Mapping[str, ClipMetric | SetMetric]) -> None:
    for name, metric in metrics.items():
        if "prompt" in metric.needs and not any(pair.prompt for pair in pairs):
            raise UserError(
                f"{name} compares clips with their prompts: give these in a table, --pairs with a column prompt"
            )


def _require_length(
    pairs: Sequence[Pair], alignments: Sequence[Alignment], metrics: Mapping[str, ClipMetric | SetMetric]
) -> None:
    for name, metric in metrics.items():
        least = getattr(metric, "least_frames", 0)
        short = [pair.name for pair, found in zip(pairs, alignments, strict=True) if len(found.generated) < least]
        if short:
            raise UserError(
                f"{name} looks at {least} frames of each clip, but {len(short)} of {len(pairs)} have fewer to compare, "
                f"{short[0]} for one: leave them or the metric out, or see {name}_frames in --help"
            )


def score_pairs(
    pairs: Sequence[Pair],
    alignments: Sequence[Alignment],
    judges: FileJudges,
    metrics: Sequence[ClipMetric | SetMetric],
) -> dict[str, list[ClipScores]]:
    """Scores of the generated clips and, by the metrics that look at one clip alone, of the real ones.

    Raises:
        UserError: When a file cannot be read.
    """
    scored: dict[str, list[ClipScores]] = {"generated": [], "real": []}
    of_real = [metric for metric in metrics if metric.level == "set" or getattr(metric, "alone", False)]
    undefined = {metric.score.key: None for metric in metrics if metric.level == "clip"}
    for clip in tqdm.tqdm(_clips(pairs, alignments, judges), total=len(pairs), unit="clip", desc="scoring"):
        real = measure_clip(clip.real(), of_real, with_real=False)
        ours = measure_clip(clip, metrics, with_real=False)
        scored["generated"].append(dataclasses.replace(ours, real_features=real.features))
        scored["real"].append(dataclasses.replace(real, values=undefined | real.values, features={}))
    return scored


def _clips(pairs: Sequence[Pair], alignments: Sequence[Alignment], judges: FileJudges) -> Iterator[Clip]:
    for pair, alignment in zip(pairs, alignments, strict=True):
        ours, real = read_pair(pair.generated, pair.reference, alignment)
        yield judges.read(Clip(pair.name, real, video=ours, prompt=pair.prompt), pair, alignment.fps)


def _rules(pairing: Pairing, by: str) -> dict[str, Any]:
    return {"paired": pairing.rule, "aligned": f"{RULES[by]}; {SIZE_RULE}", "unused": list(pairing.unused)}


def _entry(pair: Pair, alignment: Alignment) -> dict[str, Any]:
    """What results say of a clip beside its scores, as a dataset's index does."""
    entry = {"clip_id": pair.name, "prompt": pair.prompt, "source": pair.group, "labels": {}}
    return entry | {"alignment": alignment.notes}
