"""What one clip's record holds, and what made it."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from sr_jax.data.fields import Fields, axis_sizes, shapes

STRING_FIELDS = ("clip_id", "prompt", "source")
"""What a record holds of text, beside its fields."""
_SHAPE = ("num_frames", "height", "width", "sizes")


@dataclasses.dataclass(frozen=True)
class RecordSpec:
    """The arrays of a record.

    Latents are already scaled: what the transformer sees. `image_latents`, scaled as a conditioning image, holds the
    clean first frame at index 0 and noisy draws of it after (CogVideoX-I2V training: sigma = exp(N(-3, 0.5)) is drawn,
    and noise of that size is added to the pixels in [-1, 1] before the codec).

    Attributes:
        fields: Their names and axes.
        sizes: The size of each named axis.
    """

    fields: Fields
    sizes: Mapping[str, int]

    @classmethod
    def of(
        cls, fields: Fields, shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, int] | None = None
    ) -> "RecordSpec":
        """The spec of arrays of these shapes; the arguments are those of `axis_sizes`.

        Raises:
            ValueError: When a shape does not fit the axes, or two sizes of an axis differ.
        """
        return cls(dict(fields), axis_sizes(fields, shapes, known))

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float16 arrays."""
        return shapes(self.fields, self.sizes)

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """`(T, h, w, C)` of a clip's latent."""
        return self.array_shapes()["latent_mean"]

    @property
    def text_shape(self) -> tuple[int, int]:
        """`(L, D)` of a caption's embedding."""
        return self.array_shapes()["text_embedding"]

    @property
    def embedding_dim(self) -> int:
        """E, width of a face embedding."""
        return self.array_shapes()["face_embedding"][-1]

    @property
    def noisy_images(self) -> int:
        """How many draws of the noisy first frame a record holds beside the clean one."""
        return self.array_shapes()["image_latents"][0] - 1

    def to_float16(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The arrays as a record stores them: float16, checked.

        Args:
            arrays: One entry for each field, any float type.

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
        codec: Name, weight hash, `scaling_factor`, `image_condition_factor`, `temporal_compression_ratio`,
            `spatial_compression_ratio` and `latent_channels` of the video codec.
        teachers: Name and weight hash (and settings) of each of "depth", "face_detector", "face_recogniser" and "text",
            and of every further teacher under the name that the config gives it.
        clip: `num_frames`, `fps`, `height` and `width` of a clip, `noisy_images` (K) and the `seed` of their noise; of
            a folder of several sizes `sizes`, such as "480x720", instead of height and width, and "25x480x720" for
            shorter clips beside those of `num_frames`, "1x480x720" for still images.
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
        """Height and width of the clips of `num_frames` frames, in pixels."""
        return [(height, width) for frames, height, width in self.shapes if frames == self.clip["num_frames"]]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Frames, height and width of all clips."""
        named = self.clip.get("sizes") or [f"{self.clip['height']}x{self.clip['width']}"]
        shapes = (tuple(map(int, name.split("x"))) for name in named)
        return [shape if len(shape) == 3 else (self.clip["num_frames"], *shape) for shape in shapes]

    def unsized(self) -> "Provenance":
        """What made the clips but for their shapes."""
        return dataclasses.replace(self, clip={name: self.clip[name] for name in self.clip if name not in _SHAPE})

    def of_shapes(self, shapes: Collection[tuple[int, ...]]) -> "Provenance":
        """The same of clips of several shapes: frames, height and width of each."""
        num_frames = max(frames for frames, _, _ in shapes)
        # The longest clips go without their frames.
        named = [shape[1:] if shape[0] == num_frames else shape for shape in dict.fromkeys(shapes)]
        clip = {"num_frames": num_frames, "sizes": ["x".join(map(str, shape)) for shape in named]}
        return dataclasses.replace(self, clip=self.unsized().clip | clip)

    def differences(self, expected: "Provenance") -> list[str]:
        """One line for each field in which this dataset differs from `expected`; empty when they agree.

        For example "codec.weight_hash: dataset has 'a1', expected 'b2'". Where several sizes are expected, this dataset
        may have some of them; and it may have fields of further teachers.
        """
        here, there = (flatten_dict(dataclasses.asdict(item), sep=".") for item in (self, expected))
        passed_over = ["software_version"]
        # What an older version did not write down; the hash of the weights counts it, too.
        if not {"image_condition_factor"} <= self.codec.keys() & expected.codec.keys():
            passed_over.append("codec.image_condition_factor")
        if "sizes" in expected.clip and set(self.shapes) <= set(expected.shapes):
            passed_over += ["clip.height", "clip.width", "clip.sizes", "clip.num_frames"]
        further = self.teachers.keys() - expected.teachers.keys()
        passed_over += flatten_dict({"teachers": {name: self.teachers[name] for name in further}}, sep=".")
        for flat in (here, there):
            for name in passed_over:
                flat.pop(name, None)
        return [
            f"{name}: dataset has {here.get(name)!r}, expected {there.get(name)!r}"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
