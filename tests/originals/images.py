"""Image files as diffusers reads them."""

import tempfile
from pathlib import Path

import numpy as np
from diffusers.utils import load_image

from tests.evaluation.image_files import write_image


def read(name: str) -> np.ndarray:
    """RGB pixels of a file of `tests.evaluation.image_files`, written here: encoders differ in the bytes they write."""
    with tempfile.TemporaryDirectory() as folder:
        return np.array(load_image(str(write_image(Path(folder), name))))
