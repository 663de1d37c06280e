"""Fitting the small face detector and recogniser on labelled clips."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from sr_jax.backbones.codec import VideoCodec
from sr_jax.demo.fit_teachers.angular_margin import angular_margin_loss
from sr_jax.demo.fit_teachers.augmentation import recoloured, relit
from sr_jax.demo.fit_teachers.descent import FitSchedule, adamw, minimise
from sr_jax.demo.fit_teachers.detection_loss import detection_loss
from sr_jax.demo.fit_teachers.round_trip import codec_round_trip
from sr_jax.demo.labelled_clips import LabelledClips
from sr_jax.demo.small_faces.crop import crop_faces
from sr_jax.demo.small_faces.detector import STRIDE, FaceDetectorConfig
from sr_jax.demo.small_faces.teacher import (
    FaceRecogniserConfig,
    detector_network,
    embed_crops,
    recogniser_network,
    to_unit_range,
)
from sr_jax.errors import UserError
from sr_jax.models.functional import Params


class FaceExamples(NamedTuple):
    """M frames with their faces.

    Attributes:
        frames: RGB.
        degraded: The same frames after a codec round trip with noise on the latents: how generated frames look.
        boxes: Corners x0, y0, x1, y1 in pixels.
        visible: Whether the face is visible.
        classes: Whose face it is, counted from 0.
    """

    frames: UInt8[np.ndarray | Array, "m h w 3"]
    degraded: UInt8[np.ndarray | Array, "m h w 3"]
    boxes: Float[np.ndarray | Array, "m 4"]
    visible: Bool[np.ndarray | Array, " m"]
    classes: Int[np.ndarray | Array, " m"]


def face_examples(clips: LabelledClips, codec: VideoCodec, *, latent_noise: float, seed: int) -> FaceExamples:
    """Flattens clips to frames and makes the degraded copy of each.

    Args:
        clips: Labelled clips.
        codec: For the round trip.
        latent_noise: Each clip's latents get Gaussian noise of a size drawn evenly from 0 to this.
        seed: Of the noise.
    """
    degraded = codec_round_trip(clips.frames, codec, latent_noise=latent_noise, seed=seed)
    _, classes = np.unique(np.asarray(clips.identities), return_inverse=True)
    n, f = clips.frames.shape[:2]
    return FaceExamples(
        frames=clips.frames.reshape(n * f, *clips.frames.shape[2:]),
        degraded=degraded.reshape(n * f, *clips.frames.shape[2:]),
        boxes=clips.face_boxes.reshape(n * f, 4),
        visible=clips.face_visible.reshape(n * f),
        classes=np.repeat(classes, f).astype(np.int32),
    )


def fit_detector(
    examples: FaceExamples,
    config: FaceDetectorConfig,
    schedule: FitSchedule,
    *,
    seed: int,
    progress_file: Path | None = None,
) -> Params:
    """Fits a detector on whole frames, clean and degraded, mirrored and with changed light.

    Args:
        examples: Frames of `config.frame_height` pixels in height, of sides that are multiples of the stride.
        config: Size of the network.
        schedule: How long.
        seed: Of initialisation and batches.
        progress_file: See `minimise`.

    Returns:
        The network's parameters.
    """
    network = detector_network(config)

    def loss(params: Params, data: FaceExamples, key: Array, progress: Array) -> Array:
        del progress
        index_key, copy_key, mirror_key, light_key, colour_key = jax.random.split(key, 5)
        index = jax.random.randint(index_key, (schedule.batch_size,), 0, len(data.frames))
        images, boxes = _mirrored(_either_copy(data, index, copy_key), data.boxes[index], mirror_key)
        images = recoloured(relit(images, light_key), colour_key)
        return detection_loss(network.apply(params, images), boxes, data.visible[index], stride=STRIDE).mean()

    params_key, key = jax.random.split(jax.random.key(seed))
    start = jax.jit(network.init)(params_key)
    where = {"bar_line": 0, "progress_file": progress_file}
    return minimise(loss, start, examples, schedule, adamw(schedule), key, "face detector", **where)


def fit_recogniser(
    examples: FaceExamples,
    config: FaceRecogniserConfig,
    schedule: FitSchedule,
    *,
    scale: float,
    margin: float,
    seed: int,
    progress_file: Path | None = None,
) -> Params:
    """Fits a recogniser on crops of visible faces: clean and degraded, shifted, scaled, mirrored, in changed light.

    Args:
        examples: Frames and boxes.
        config: Size of the network.
        schedule: How long.
        scale: The angular margin loss's s.
        margin: The angular margin loss's m, reached halfway: the full margin from the start keeps a small network from
            learning at all.
        seed: Of initialisation and batches.
        progress_file: See `minimise`.

    Returns:
        The network's parameters, without the identities' centres.

    Raises:
        UserError: If fewer than two identities show their face.
    """
    shown = np.flatnonzero(examples.visible)
    labels, classes = np.unique(examples.classes[shown], return_inverse=True)
    if len(labels) < 2:
        raise UserError(f"the videos show the faces of {len(labels)} people: a recogniser needs at least two")
    data = FaceExamples(*(column[shown] for column in examples[:-1]), classes.astype(np.int32))
    network = recogniser_network(config)

    def loss(params: dict[str, Any], data: FaceExamples, key: Array, progress: Array) -> Array:
        index_key, copy_key, mirror_key, box_key, light_key = jax.random.split(key, 5)
        index = jax.random.randint(index_key, (schedule.batch_size,), 0, len(data.frames))
        images, boxes = _mirrored(_either_copy(data, index, copy_key), data.boxes[index], mirror_key)
        crops = crop_faces(images, _jittered(boxes, box_key), size=config.crop_size, margin=config.margin)
        # Light changes on crops: drawing noise for whole frames takes longer than the network.
        embeddings = embed_crops(network, params["network"], relit(crops, light_key))
        current = margin * jnp.minimum(2 * progress, 1)
        return angular_margin_loss(
            embeddings, params["centres"], data.classes[index], scale=scale, margin=current
        ).mean()

    params_key, centres_key, key = jax.random.split(jax.random.key(seed), 3)
    centres = jax.random.normal(centres_key, (len(labels), config.embedding_dim))
    params = {"network": jax.jit(network.init)(params_key), "centres": centres / np.sqrt(config.embedding_dim)}
    where = {"bar_line": 1, "progress_file": progress_file}
    return minimise(loss, params, data, schedule, adamw(schedule), key, "face recogniser", **where)["network"]


def _either_copy(data: FaceExamples, index: Int[Array, " n"], key: Array) -> Float[Array, "n h w 3"]:
    """Frames in [-1, 1], most of them degraded."""
    clean = jax.random.bernoulli(key, 0.4, (len(index), 1, 1, 1))
    return to_unit_range(jnp.where(clean, data.frames[index], data.degraded[index]))


def _mirrored(
    images: Float[Array, "n h w 3"], boxes: Float[Array, "n 4"], key: Array
) -> tuple[Float[Array, "n h w 3"], Float[Array, "n 4"]]:
    """Flips half of the images left to right, with their boxes."""
    flip = jax.random.bernoulli(key, 0.5, (len(images),))
    x0, y0, x1, y1 = boxes.T
    width = images.shape[2]
    flipped = jnp.stack([width - x1, y0, width - x0, y1], axis=1)
    return (
        jnp.where(flip[:, None, None, None], images[:, :, ::-1], images),
        jnp.where(flip[:, None], flipped, boxes),
    )


def _jittered(boxes: Float[Array, "n 4"], key: Array) -> Float[Array, "n 4"]:
    """Moves boxes by up to 12% of their size and scales them by up to 18%, as much as a detector errs."""
    move_key, scale_key = jax.random.split(key)
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centres += 0.12 * sizes * jax.random.uniform(move_key, centres.shape, minval=-1)
    half = sizes / 2 * (1 + 0.18 * jax.random.uniform(scale_key, (len(boxes), 1), minval=-1))
    return jnp.concatenate([centres - half, centres + half], axis=1)
