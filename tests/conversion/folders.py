"""Tiny random folders as diffusers saves them, and what to compare them by."""

from pathlib import Path

import numpy as np
import torch

from sr_jax.conversion.safetensors_file import map_tensor, parse_header, read_header
from tests.models.diffusers_twin import I2V, I2V_1_5, ROPE, ROPE_1_5, TINY, diffusers_model

VARIANTS = {"2b": TINY, "5b": ROPE, "5b_i2v": I2V, "1_5_5b": ROPE_1_5, "1_5_5b_i2v": I2V_1_5}


def save_transformer(folder: Path, variant: str, dtype: torch.dtype = torch.float32, shard: str = "40KB") -> Path:
    """A random transformer in several files."""
    diffusers_model(VARIANTS[variant]).to(dtype).save_pretrained(folder, max_shard_size=shard)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor in the safetensors files of a folder."""
    return {
        name: np.array(map_tensor(path, place))
        for path in folder.glob("*.safetensors")
        for name, place in parse_header(read_header(path), path).items()
    }
