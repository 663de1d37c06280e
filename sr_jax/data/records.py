"""What one clip's record holds, and what made it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

ARRAY_FIELDS = (
    "latent_mean",
    "latent_std",
    "image_latents",
    "depth_latent",
    "face_embedding",
    "face_mask",
    "text_embedding",
)
"""The fields of a record that training reads."""

STRING_FIELDS = ("clip_id", "prompt", "source")
"""The fields of a record that are text."""


@dataclasses.dataclass(frozen=True)
class RecordSpec:
    """Sizes of the arrays of a record.

    Attributes:
        latent_shape: `(T, h, w, C)` of a clip's latent.
        noisy_images: K, how many draws of the noisy first frame a record holds beside the clean one.
        embedding_dim: E, width of a face embedding.
        text_shape: `(L, D)` of a caption's embedding.
    """

    latent_shape: tuple[int, int, int, int]
    noisy_images: int
    embedding_dim: int
    text_shape: tuple[int, int]

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float16 arrays.

        Latents are already scaled: what the transformer sees. `image_latents` `[K+1, 1, h, w, C]`, scaled as a
        conditioning image, holds the clean first frame at index 0 and K noisy draws of it after (CogVideoX-I2V
        training: sigma = exp(N(-3, 0.5)) is drawn, and noise of that size is added to the pixels in [-1, 1] before the
        codec).
        """
        num_latents, height, width, channels = self.latent_shape
        return {
            "latent_mean": self.latent_shape,
            "latent_std": self.latent_shape,
            "image_latents": (self.noisy_images + 1, 1, height, width, channels),
            "depth_latent": self.latent_shape,
            "face_embedding": (num_latents, self.embedding_dim),
            "face_mask": (num_latents,),
            "text_embedding": self.text_shape,
        }

    def to_float16(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The arrays as a record stores them: float16, checked.

        Args:
            arrays: One entry for each of `ARRAY_FIELDS`, any float type.

        Raises:
            ValueError: When a shape is not that of this spec or a value is not finite in float16.
        """
        result = {}
        for name, shape in self.array_shapes().items():
            array = np.asarray(arrays[name], np.float32)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, the record expects {shape}")
            # Written so that NaN fails too.
            if not (np.abs(array) <= np.finfo(np.float16).max).all():
                raise ValueError(f"{name} holds values that float16 cannot store")
            result[name] = array.astype(np.float16)
        return result


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What made a dataset. Datasets of different provenance must not be mixed.

    Attributes:
        codec: Name, weight hash, `scaling_factor`, `temporal_compression_ratio`, `spatial_compression_ratio` and
            `latent_channels` of the video codec.
        teachers: Name and weight hash (and settings) of each of "depth", "face_detector", "face_recogniser" and "text".
        clip: `num_frames`, `fps`, `height` and `width` of a clip, `noisy_images` (K) and the `seed` of their noise; of
            a folder of several sizes `sizes`, such as "480x720", instead of height and width.
        software_version: Version of this package. Kept for the reader; it never makes two datasets differ.
    """

    codec: dict[str, Any]
    teachers: dict[str, dict[str, str]]
    clip: dict[str, Any]
    software_version: str

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: When `text` is not such an object.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not a provenance: {error}") from error

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the clips, in pixels."""
        named = self.clip.get("sizes") or [f"{self.clip['height']}x{self.clip['width']}"]
        return [(int(height), int(width)) for height, width in (name.split("x") for name in named)]

    def differences(self, expected: "Provenance") -> list[str]:
        """One line for each field in which this dataset differs from `expected`; empty when they agree.

        For example "codec.weight_hash: dataset has 'a1', expected 'b2'". Where several sizes are expected, this dataset
        may have some of them.
        """
        here, there = (_flatten(dataclasses.asdict(item)) for item in (self, expected))
        passed_over = ["software_version"]
        if "sizes" in expected.clip and set(self.sizes) <= set(expected.sizes):
            passed_over += ["clip.height", "clip.width", "clip.sizes"]
        for flat in (here, there):
            for name in passed_over:
                flat.pop(name, None)
        return [
            f"{name}: dataset has {here.get(name)!r}, expected {there.get(name)!r}"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
