"""A clip's features: what the codec and the teachers make of its pixels and caption."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import sr_jax
from sr_jax.backbones.codec import VideoCodec, latent_frames
from sr_jax.data.fields import CORE_FIELDS
from sr_jax.data.records import Provenance, RecordSpec
from sr_jax.errors import UserError
from sr_jax.media import video
from sr_jax.preparation.reading import CutClip
from sr_jax.teachers.base import ClipBatch, FeatureTeacher

# CogVideoX-I2V training noises the first frame with sigma = exp(N(mean, deviation)), on pixels in [-1, 1].
_LOG_SIGMA_MEAN, _LOG_SIGMA_DEVIATION = -3.0, 0.5
_LATENTS = ("latent_mean", "latent_std", "image_latents")

Kept = dict[str, dict[str, np.ndarray]]
"""What belongs in no record: the arrays of each teacher that keeps some, by its slot and their names."""


class FeatureExtractor:
    """Turns a batch of clips into the arrays of their records.

    Attributes:
        fields: The arrays.
        provenance: What makes them.
    """

    def __init__(
        self,
        *,
        codec: VideoCodec,
        teachers: Mapping[str, FeatureTeacher],
        num_frames: int,
        fps: float,
        height: int,
        width: int,
        noisy_images: int,
        seed: int,
    ):
        """Compiles on first use.

        Args:
            codec: Encodes clips, and what teachers have it encode.
            teachers: What makes the other fields, by their slots.
            num_frames: Frames of a clip.
            fps: Frames a second of a clip.
            height: Pixels.
            width: Pixels.
            noisy_images: K, draws of the noisy first frame; 0 where only text-to-video is trained.
            seed: Seed of these draws, together with the clip's id.

        Raises:
            UserError: When the codec cannot encode clips of this length or size, `noisy_images` is negative, or two
                teachers make one field or have one name in the provenance.
        """
        if noisy_images < 0:
            raise UserError(f"noisy_images is {noisy_images}: it must be at least 0")
        self._codec, self._teachers, self._fps, self._seed = codec, teachers, fps, seed
        self._sizes = dict(zip("thwc", _latent_shape(codec, num_frames, height, width))) | {"k": noisy_images + 1}
        latents = {name: CORE_FIELDS[name] for name in _LATENTS}
        self.fields = _joined("write the field", latents, *(teacher.fields for teacher in teachers.values()))
        self.provenance = Provenance(
            codec={
                "name": codec.name,
                "weight_hash": codec.weight_hash,
                "scaling_factor": float(codec.scaling_factor),
                "image_condition_factor": float(codec.image_condition_factor),
                "temporal_compression_ratio": codec.temporal_compression_ratio,
                "spatial_compression_ratio": codec.spatial_compression_ratio,
                "latent_channels": codec.latent_channels,
            },
            teachers=_joined("are called", *(teacher.provenance(slot) for slot, teacher in teachers.items())),
            clip={
                "num_frames": num_frames,
                "fps": fps,
                "height": height,
                "width": width,
                "noisy_images": noisy_images,
                "seed": seed,
            },
            software_version=sr_jax.__version__,
        )

    def __call__(self, clips: Sequence[CutClip], batch_size: int) -> list[tuple[dict[str, np.ndarray], Kept]]:
        """The arrays of the clips' records, in float16, and what is kept besides.

        The first frame's latents are the means of the codec's posterior, as an image-to-video model takes them.

        Args:
            clips: At most as many as a batch has.
            batch_size: What they are filled up to, so that one shape is compiled.
        """
        filled = [*clips, *[clips[-1]] * (batch_size - len(clips))]
        frames = np.stack([clip.frames for clip in filled])
        made = self._latents(filled, video.to_unit_range(frames))
        paths, prompts = ([getattr(clip.plan.source, name) for clip in filled] for name in ("path", "prompt"))
        batch = ClipBatch(frames, self._fps, paths, prompts, len(clips))
        kept: dict[str, dict[str, Any]] = {}
        for slot, teacher in self._teachers.items():
            beside = np.stack([clip.beside[slot] for clip in filled]) if slot in clips[0].beside else None
            arrays = dict(teacher(dataclasses.replace(batch, beside=beside), self._codec))
            if arrays.keys() != {*teacher.fields, *teacher.kept}:
                raise ValueError(f"the teacher {slot} made {sorted(arrays)}, not {[*teacher.fields, *teacher.kept]}")
            if teacher.kept:
                kept[slot] = {name: arrays.pop(name) for name in teacher.kept}
            made |= arrays
        made, kept = jax.device_get((made, kept))
        spec = RecordSpec.of(self.fields, {name: array.shape[1:] for name, array in made.items()}, self._sizes)
        return [
            (
                spec.to_float16({name: array[row] for name, array in made.items()}),
                {slot: {name: array[row] for name, array in arrays.items()} for slot, arrays in kept.items()},
            )
            for row in range(len(clips))
        ]

    def _latents(self, clips: Sequence[CutClip], pixels: Float[np.ndarray, "b f h w 3"]) -> dict[str, Array]:
        """What the codec alone makes of the clips."""
        mean, std = self._codec.encode(jnp.asarray(pixels))
        images = np.stack([self._noisy_images(clip.plan.clip_id, each[0]) for clip, each in zip(clips, pixels)])
        encoded, _ = self._codec.encode(jnp.asarray(images.reshape(-1, *images.shape[2:])))
        images = self._codec.image_condition_factor * encoded.reshape(*images.shape[:2], *encoded.shape[1:])
        return dict(zip(_LATENTS, (mean, std, images)))

    def _noisy_images(self, clip_id: str, image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "k 1 h w 3"]:
        """The clean first frame and its noisy draws, which depend on the clip's id and the seed alone."""
        digest = hashlib.sha256(f"{self._seed}/{clip_id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
        draws = self._sizes["k"] - 1
        sigma = np.exp(rng.normal(_LOG_SIGMA_MEAN, _LOG_SIGMA_DEVIATION, (draws, 1, 1, 1)))
        noisy = image + sigma * rng.normal(size=(draws, *image.shape))
        return np.concatenate([image[None], noisy])[:, None].astype(np.float32)


def _latent_shape(codec: VideoCodec, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    ratio = codec.spatial_compression_ratio
    if height % ratio or width % ratio:
        raise UserError(f"clips of {height}x{width} pixels do not fit the codec: use multiples of {ratio}")
    # As the faces' masks count them, with the first frame alone; a codec may take fewer lengths, or others too.
    frames = latent_frames(num_frames, codec.temporal_compression_ratio)
    codec.latent_frames(num_frames)
    return (frames, height // ratio, width // ratio, codec.latent_channels)


def _joined(what: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of all parts.

    Raises:
        UserError: When two parts have one of the same name.
    """
    joined: dict[str, Any] = {}
    for part in parts:
        for name in part.keys() & joined.keys():
            raise UserError(f"two teachers {what} {name!r}: leave one of them out of config.features")
        joined |= part
    return joined
