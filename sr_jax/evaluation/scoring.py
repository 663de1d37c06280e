"""Scores a folder of generated clips against the real ones, with judges that never supervised."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.evaluation.metrics.identity import face_embeddings, identity_similarity
from sr_jax.evaluation.metrics.motion import flow_features, motion_magnitude, motion_score, optical_flow
from sr_jax.evaluation.metrics.psnr import psnr
from sr_jax.evaluation.metrics.ssim import ssim
from sr_jax.evaluation.metrics.structure import structure_error
from sr_jax.media.video import read_video, to_uint8, to_unit_range
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.depth.colours import invert_colour, normalise_disparity, read_disparity
from sr_jax.teachers.depth.files import depth_path


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip to score, with the real one.

    Attributes:
        clip_id: Its name.
        real: The real frames `[F, H, W, 3]`.
        disparity: The real clip's true disparity in [0, 1], `[F, H, W]`.
        latents: What is scored, `[T, h, w, C]`.
    """

    clip_id: str
    real: UInt8[np.ndarray, "f h w 3"]
    disparity: Float[np.ndarray, "f h w"]
    latents: Float[np.ndarray, "t y x c"]


@dataclasses.dataclass(frozen=True)
class Judges:
    """What reads the clips. None of it may have supervised the model that is scored, the codec excepted.

    Attributes:
        codec: Decodes latents to pixels.
        read_depth: From clean latents to the coloured depth video seen in them; see `structure.depth_reader`.
        faces: Finds and embeds faces.
        colour_map: Of the coloured depth.
    """

    codec: VideoCodec
    read_depth: Callable[[Float[Array, "b t y x c"]], Float[np.ndarray, "b f h w 3"]]
    faces: FaceTeacher
    colour_map: str = "inferno"


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """Everything measured on one clip.

    Attributes:
        values: The scores of `scores.CLIP_SCORES` by key; None where a score is not defined.
        series: `id_score` and `structure_error` frame by frame, `[F]`; NaN where not defined.
        flow: Flow features of the scored clip, `[F - 1, D]`.
        real_flow: Flow features of the real clip.
        depth: The disparity that the judge read, in [0, 1], `[F, H, W]`.
    """

    values: dict[str, float | None]
    series: dict[str, Float[np.ndarray, " f"]]
    flow: Float[np.ndarray, "g d"]
    real_flow: Float[np.ndarray, "g d"]
    depth: Float[np.ndarray, "f h w"]


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


def score_clips(clips: Iterator[Clip], judges: Judges, *, batch_size: int) -> Iterator[tuple[str, ClipScores]]:
    """Scores clips in order, `batch_size` at a time.

    Yields:
        Clip id and scores.

    Raises:
        UserError: When a clip differs in size from the real one.
    """
    while batch := list(itertools.islice(clips, batch_size)):
        latents = np.stack([clip.latents for clip in batch])
        # The last batch is filled up: one shape, one compilation.
        latents = jnp.concatenate([latents, np.repeat(latents[-1:], batch_size - len(batch), axis=0)])
        frames = to_uint8(judges.codec.decode_to_host(latents)[: len(batch)])
        if frames.shape[1:] != batch[0].real.shape:
            raise UserError(f"generated clips are {_size(frames[0])}, the real ones {_size(batch[0].real)}")
        colours = judges.read_depth(latents)
        similarity, shown = _identity(batch, frames, judges.faces)
        for row, clip in enumerate(batch):
            depth = invert_colour(colours[row], judges.colour_map)
            yield clip.clip_id, _clip_scores(clip, frames[row], depth, similarity[row], shown[row])


def set_motion_score(scores: Sequence[ClipScores]) -> float:
    """The motion score of a set of clips."""
    flow, real_flow = (np.stack([getattr(item, name) for item in scores]) for name in ("flow", "real_flow"))
    return float(motion_score(flow, real_flow)[0])


def _clip_scores(
    clip: Clip,
    frames: UInt8[np.ndarray, "f h w 3"],
    depth: Float[np.ndarray, "f h w"],
    similarity: Float[np.ndarray, " f"],
    shown: Float[np.ndarray, " f"],
) -> ClipScores:
    flow, real_flow = optical_flow(frames), optical_flow(clip.real)
    structure = structure_error(depth, clip.disparity)
    values = {
        "structure_error": float(structure.mean()),
        "id_score": _mean_if_any(similarity),
        "psnr": float(psnr(frames, clip.real).mean()),
        "ssim": float(ssim(frames, clip.real).mean()),
        "face_found": _mean_if_any(100 * shown),
        "motion_magnitude": motion_magnitude(flow),
    }
    series = {"id_score": similarity, "structure_error": structure}
    return ClipScores(values, series, flow_features(flow), flow_features(real_flow), depth)


def _mean_if_any(values: Float[np.ndarray, " f"]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None


def _identity(
    batch: Sequence[Clip], frames: UInt8[np.ndarray, "n f h w 3"], faces: FaceTeacher
) -> tuple[Float[np.ndarray, "n f"], Float[np.ndarray, "n f"]]:
    """Similarity to the real first frame, and 1 or 0 for a face found or missed where the real frame shows one.

    Both NaN where not defined. The frames of all clips go to the judge together, which is faster.
    """
    real = np.stack([clip.real for clip in batch])
    both = np.stack([real, frames])
    embeddings, present = face_embeddings(both.reshape(-1, *both.shape[3:]), faces)
    (anchors, ours), (anchor_present, ours_present) = (
        array.reshape(*both.shape[:3], *array.shape[1:]) for array in (embeddings, present)
    )
    rows = zip(ours, ours_present, anchors[:, 0], anchor_present[:, 0], strict=True)
    similarity = [identity_similarity(clip, found & known, anchor) for clip, found, anchor, known in rows]
    return np.stack(similarity), np.where(anchor_present, ours_present.astype(float), np.nan)


def _read_real(reference: Path, clip_id: str) -> tuple[np.ndarray, np.ndarray]:
    path = reference / f"{clip_id}.mp4"
    frames, _ = read_video(path)
    # `prepare` keeps disparity scaled as it was coloured, percentiles and all: it spans [0, 1] already.
    disparity = normalise_disparity(read_disparity(depth_path(path)))
    if disparity.shape != frames.shape[:3]:
        raise UserError(f"{depth_path(path)} does not have the size of {path.name}: prepare the dataset again")
    return frames, disparity


def _size(frames: np.ndarray) -> str:
    return f"{frames.shape[0]} frames of {frames.shape[1]}x{frames.shape[2]} pixels"
