"""Scores a folder of generated clips against the real ones, with judges that never supervised."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.evaluation.judges import Judges
from sr_jax.evaluation.metrics.base import Clip, ClipMetric, SetMetric
from sr_jax.media.video import read_video, to_unit_range
from sr_jax.teachers.depth.colours import normalise_disparity, read_disparity
from sr_jax.teachers.depth.files import depth_path


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """Everything measured on one clip.

    Attributes:
        values: By the key of each metric of clips; None where it is not defined.
        frames: The same frame by frame, `[F]`, for the scores that have `by_frame`; NaN where not defined.
        features: What metrics of sets keep of the scored clip, by their `features_name`.
        real_features: The same of the real clip, or empty.
        structure: The disparity that the judge read, in [0, 1], `[F, H, W]`; None without that judge.
    """

    values: dict[str, float | None]
    frames: dict[str, Float[np.ndarray, " f"]]
    features: dict[str, Float[np.ndarray, "..."]]
    real_features: dict[str, Float[np.ndarray, "..."]]
    structure: Float[np.ndarray, "f h w"] | None


def generated_ids(generated: Path, index: Mapping[str, Any]) -> list[str]:
    """Ids of the clips in a folder that `sample` wrote, sorted.

    Raises:
        UserError: When there are none, or one is not in the index.
    """
    ids = sorted(path.stem for path in generated.glob("*.mp4"))
    if not ids:
        raise UserError(f"no generated clips in {generated}: make them with `python -m sr_jax.sample --data`")
    strangers = [clip_id for clip_id in ids if clip_id not in index]
    if strangers:
        raise UserError(f"{generated}/{strangers[0]}.mp4 is no clip of the reference: it was sampled from other data")
    return ids


def generated_clips(generated: Path, reference: Path, clip_ids: Sequence[str]) -> Iterator[Clip]:
    """The generated clips of a folder, as exact latents, with their real ones.

    Raises:
        UserError: When a file cannot be read.
    """
    for clip_id in clip_ids:
        path = generated / f"{clip_id}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                latents = stored["latents"].astype(np.float32)
        # A damaged zip and a missing key arrive as different built-in exceptions.
        except Exception as error:
            raise UserError(f"cannot read {path}: remove it and sample it again") from error
        yield Clip(clip_id, *_read_real(reference, clip_id), latents)


def real_clips(reference: Path, clip_ids: Sequence[str], codec: VideoCodec) -> Iterator[Clip]:
    """The real clips as the codec encodes them: what a perfect generator would score."""
    for clip_id in clip_ids:
        real, disparity = _read_real(reference, clip_id)
        yield Clip(clip_id, real, disparity, np.asarray(codec.encode(jnp.asarray(to_unit_range(real)[None]))[0][0]))


def score_clips(
    clips: Iterator[Clip],
    judges: Judges,
    metrics: Sequence[ClipMetric | SetMetric],
    *,
    batch_size: int,
    with_real: bool = False,
) -> Iterator[tuple[str, ClipScores]]:
    """Scores clips in order, `batch_size` at a time.

    Args:
        clips: What is scored.
        judges: Those that the metrics need.
        metrics: What to measure.
        batch_size: Clips in one call of the networks.
        with_real: Whether to keep features of the real clips too.

    Yields:
        Clip id and scores.

    Raises:
        UserError: When a clip differs in size from the real one.
    """
    while batch := list(itertools.islice(clips, batch_size)):
        for clip in judges.read(batch, batch_size):
            yield clip.clip_id, measure_clip(clip, metrics, with_real=with_real)


def measure_clip(clip: Clip, metrics: Sequence[ClipMetric | SetMetric], *, with_real: bool) -> ClipScores:
    """Scores one clip in which the judges have read.

    Args:
        clip: The clip.
        metrics: What to measure.
        with_real: Whether to keep features of the real clip too.
    """
    measured = {metric.score: metric.measure(clip) for metric in metrics if metric.level == "clip"}
    return ClipScores(
        values={score.key: item.value for score, item in measured.items()},
        frames={score.key: item.frames for score, item in measured.items() if score.by_frame},
        features=_features(clip, metrics),
        real_features=_features(clip.real(), metrics) if with_real else {},
        structure=clip.structure,
    )


def _features(clip: Clip, metrics: Sequence[ClipMetric | SetMetric]) -> dict[str, Float[np.ndarray, "..."]]:
    """The features of one clip that metrics of sets keep, by their names."""
    features = {}
    for metric in metrics:
        if metric.level == "set" and metric.features_name not in features:
            features[metric.features_name] = metric.features(clip)
    return features


def _read_real(reference: Path, clip_id: str) -> tuple[np.ndarray, np.ndarray]:
    path = reference / f"{clip_id}.mp4"
    frames, _ = read_video(path)
    # `prepare` keeps disparity scaled as it was coloured, percentiles and all: it spans [0, 1] already.
    disparity = normalise_disparity(read_disparity(depth_path(path)))
    if disparity.shape != frames.shape[:3]:
        raise UserError(f"{depth_path(path)} does not have the size of {path.name}: prepare the dataset again")
    return frames, disparity
