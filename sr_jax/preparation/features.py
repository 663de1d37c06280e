"""A clip's features: what the codec and the teachers make of its pixels and caption."""

import hashlib
from collections.abc import Sequence
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
from sr_jax.preparation.planning import ClipPlan
from sr_jax.preparation.reading import ClipPixels
from sr_jax.teachers.base import DepthTeacher, FaceTeacher, TextTeacher
from sr_jax.teachers.depth.colours import PUBLISHED_COLOURS, DepthColours
from sr_jax.teachers.faces.tracks import face_tracks

# CogVideoX-I2V training noises the first frame with sigma = exp(N(mean, deviation)), on pixels in [-1, 1].
_LOG_SIGMA_MEAN, _LOG_SIGMA_DEVIATION = -3.0, 0.5


class FeatureExtractor:
    """Turns a batch of clips into the arrays of their records.

    Attributes:
        spec: Sizes of the arrays.
        provenance: What makes them.
        empty_prompt: Embedding of the empty caption.
    """

    def __init__(
        self,
        *,
        codec: VideoCodec,
        depth: DepthTeacher,
        faces: FaceTeacher,
        text: TextTeacher,
        num_frames: int,
        fps: float,
        height: int,
        width: int,
        noisy_images: int,
        seed: int,
        colours: DepthColours = PUBLISHED_COLOURS,
    ):
        """Compiles on first use.

        Args:
            codec: Encodes clips and coloured depth.
            depth: The depth teacher, for the provenance; see `ClipReader`.
            faces: Detector and recogniser.
            text: Embeds captions.
            num_frames: Frames of a clip.
            fps: Frames a second of a clip.
            height: Pixels.
            width: Pixels.
            noisy_images: K, draws of the noisy first frame; 0 where only text-to-video is trained.
            seed: Seed of these draws, together with the clip's id.
            colours: How the clips' depth is coloured.

        Raises:
            UserError: When the codec cannot encode clips of this length or size, or `noisy_images` is negative.
        """
        if noisy_images < 0:
            raise UserError(f"noisy_images is {noisy_images}: it must be at least 0")
        self._codec, self._faces, self._text, self._seed = codec, faces, text, seed
        self._colours = colours
        self.empty_prompt = text([""])[0]
        sizes = dict(zip("thwc", _latent_shape(codec, num_frames, height, width)))
        tokens, text_width = self.empty_prompt.shape
        others = {"k": noisy_images + 1, "e": faces.recogniser.embedding_dim, "l": tokens, "d": text_width}
        self.spec = RecordSpec(CORE_FIELDS, sizes | others)
        self.provenance = Provenance(
            codec={
                "name": codec.name,
                "weight_hash": codec.weight_hash,
                "scaling_factor": float(codec.scaling_factor),
                "temporal_compression_ratio": codec.temporal_compression_ratio,
                "spatial_compression_ratio": codec.spatial_compression_ratio,
                "latent_channels": codec.latent_channels,
            },
            teachers={
                "depth": _identify(depth) | colours.describe(),
                "face_detector": _identify(faces.detector) | {"choice": faces.choice},
                "face_recogniser": _identify(faces.recogniser),
                "text": _identify(text),
            },
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

    def __call__(self, plans: Sequence[ClipPlan], clips: Sequence[ClipPixels]) -> list[dict[str, Any]]:
        """The arrays of the records of a batch, in float16; see `RecordSpec.array_shapes`.

        The first frame's latents are the means of the codec's posterior, as an image-to-video model takes them.
        """
        frames = np.stack([clip.frames for clip in clips])
        pixels = video.to_unit_range(frames)
        mean, std = self._encode(pixels)
        depth, _ = self._encode(video.to_unit_range(np.stack([self._colours.colour(clip.disparity) for clip in clips])))
        images = np.stack([self._noisy_images(plan.clip_id, clip[0]) for plan, clip in zip(plans, pixels)])
        image_latents, _ = self._encode(images.reshape(-1, *images.shape[2:]))
        embedding, mask = face_tracks(
            frames,
            self._faces.detector,
            self._faces.recogniser,
            self._codec.temporal_compression_ratio,
            choice=self._faces.choice,
        )
        batch = {
            "latent_mean": mean,
            "latent_std": std,
            "image_latents": self._codec.image_condition_factor
            * image_latents.reshape(*images.shape[:2], *image_latents.shape[1:]),
            "depth_latent": depth,
            "face_embedding": embedding,
            "face_mask": mask,
            "text_embedding": self._text([plan.source.prompt for plan in plans]),
        }
        batch = jax.device_get(batch)
        return [self.spec.to_float16({name: array[row] for name, array in batch.items()}) for row in range(len(plans))]

    def _encode(self, pixels: Float[np.ndarray, "b f h w 3"]) -> tuple[Float[Array, "b t y x c"], ...]:
        """Mean and standard deviation of the latents."""
        return self._codec.encode(jnp.asarray(pixels))

    def _noisy_images(self, clip_id: str, image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "k 1 h w 3"]:
        """The clean first frame and its noisy draws, which depend on the clip's id and the seed alone."""
        digest = hashlib.sha256(f"{self._seed}/{clip_id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
        draws = self.spec.noisy_images
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


def _identify(teacher: Any) -> dict[str, str]:
    return {"name": teacher.name, "weight_hash": teacher.weight_hash}
