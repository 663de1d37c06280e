"""Making the picture that a clip starts from fit."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sr_jax.media.video import resize_and_crop


def fit_image(
    image: UInt8[np.ndarray, "y x 3"], height: int, width: int, how: str
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Makes an image fit: "crop" keeps its aspect and cuts off what is over, as `prepare` does with videos.

    "stretch" changes its aspect, as diffusers' pipelines do (`VaeImageProcessor`, Lanczos).
    """
    return FITS[how](image, height, width)


def _crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize_and_crop(image[None], height, width)[0]


def _stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


FITS = {"crop": _crop, "stretch": _stretch}
"""The ways of `fit_image` by name."""
