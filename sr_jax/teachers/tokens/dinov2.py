"""DINOv2 as a token teacher, with its released weights (Apache-2.0): what REPA and CREPA align with.

Its tokens are `x_norm_patchtokens` of the original, `last_hidden_state` of transformers without the class token: those
of the patches behind the last block, or another one, normalised by the last norm. The whole frame is seen: its shorter
side becomes `input_size`, its longer one keeps the aspect, to the nearest patch. (The released image processor resizes
and then crops a square, which would leave parts of a frame without tokens.) REPA reads 224 pixels, CREPA 518; a record
grows with the square.

Sources: Oquab et al. 2023 (arXiv 2304.07193); REPA (arXiv 2410.06940); CREPA (arXiv 2506.09229).
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8
from PIL import Image

from sr_jax.conversion.dinov2 import FILES, read_release
from sr_jax.conversion.hub import model_folder
from sr_jax.errors import UserError
from sr_jax.models.dinov2 import DINOv2, DINOv2Config
from sr_jax.models.functional import Functional, Params
from sr_jax.sections import Section, value
from sr_jax.teachers.base import FeatureTeacher, file_hash
from sr_jax.teachers.imagenet import normalise
from sr_jax.teachers.tokens.fields import ImageTokens

INPUT_SIZE = 224
"""Shorter side of the network's input in pixels, where nothing else is said."""

# The released sizes by their width.
_SIZES = {384: "vits", 768: "vitb", 1024: "vitl", 1536: "vitg"}


def load(section: Section) -> FeatureTeacher:
    """Loads `{"name": "dinov2", "path": PATH}`; further entries, and their defaults, are in `configs/sections.py`.

    Raises:
        UserError: For weights that cannot be had or are not of a DINOv2, or sizes that do not fit it.
    """
    if not value(section, "path"):
        raise UserError(
            f"features.{section['slot']}.path is empty: name a folder or file of DINOv2, or facebook/dinov2-base"
        )
    encoder = DINOv2Encoder.load(
        section["path"],
        section.get("revision", ""),
        input_size=section.get("input_size", INPUT_SIZE),
        block=section.get("block", 0),
        dtype=section.get("dtype", "float32"),
    )
    return ImageTokens(
        section["slot"], encoder, frames=section.get("frames", "last"), batch_size=section.get("batch_size", 16)
    )


class DINOv2Encoder:
    """`ImageEncoder` by DINOv2.

    Attributes:
        name: Such as `dinov2_vitb14`.
        weight_hash: Hash of the weights' file.
        settings: `input_size` and `block`.
    """

    def __init__(
        self,
        config: DINOv2Config,
        params: Params,
        *,
        weight_hash: str,
        input_size: int = INPUT_SIZE,
        block: int = 0,
        dtype: DTypeLike = jnp.float32,
    ):
        """Compiles on first use, for each size of frames.

        Args:
            config: Sizes of the network.
            params: Its parameters.
            weight_hash: Names the weights in provenance.
            input_size: Shorter side of the network's input in pixels, a multiple of its patch.
            block: Whose tokens are given, from 1; 0 for the last.
            dtype: Compute type.

        Raises:
            UserError: If the input size or the block does not fit the network.
        """
        patch, layers = config.patch_size, config.num_layers
        if input_size < patch or input_size % patch:
            raise UserError(f"dinov2's input_size is {input_size}: use a multiple of {patch}")
        if not 0 <= block <= layers:
            raise UserError(f"dinov2's block is {block}: use 1 to {layers}, or 0 for the last")
        size = _SIZES.get(config.hidden_size, f"{config.hidden_size}x{layers}_")
        self.name, self.weight_hash = f"dinov2_{size}{patch}", weight_hash
        self.settings: Mapping[str, str] = {"input_size": str(input_size), "block": str(block or layers)}
        self._input_size, self._patch = input_size, patch
        self._params = jax.device_put(params)
        network = Functional(lambda rngs: DINOv2(config, rngs=rngs, dtype=dtype))
        tap = (block or layers) - 1
        self._tokens = jax.jit(lambda params, inputs: network.apply(params, inputs, (tap,))[0].astype(jnp.float32))

    @classmethod
    def load(cls, path: str, revision: str = "", **options) -> "DINOv2Encoder":
        """Loads released weights.

        Args:
            path: A folder of transformers, a state dict of the original (`dinov2_vitb14_pretrain.pth`, or the same
                tensors as `.safetensors`), or a name on the Hugging Face hub such as "facebook/dinov2-base".
            revision: Branch, tag or commit on the hub; the newest when empty.
            **options: Those of the constructor.

        Raises:
            UserError: If the weights cannot be had, are no DINOv2 or have registers.
        """
        local = Path(path)
        if not local.exists() and not local.suffix:
            local = model_folder(path, FILES, revision)
        config, params, weights = read_release(local)
        return cls(config, params, weight_hash=file_hash(weights), **options)

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Array, "n y x d"]:
        """Returns the tokens of RGB images, float32."""
        size = input_size_for(images.shape[1:3], self._input_size, self._patch)
        return self._tokens(self._params, np.stack([prepare(image, size) for image in images]))


def input_size_for(size: tuple[int, int], input_size: int, patch: int) -> tuple[int, int]:
    """Height and width of the network's input for frames of some height and width, multiples of the patch."""
    scale = input_size / min(size)
    height, width = (round(scale * side / patch) * patch for side in size)
    return height, width


def prepare(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Float[np.ndarray, "y x 3"]:
    """An image as the network's input: resized and normalised as transformers' `BitImageProcessor` does it.

    Pillow resizes (bicubic, and averaging where the image shrinks) in whole numbers, as it did for the released models.
    """
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    return normalise(np.asarray(resized, np.float32) / 255)
