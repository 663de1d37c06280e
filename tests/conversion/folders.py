"""Tiny random folders as diffusers saves them, and what to compare them by."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from sr_jax.conversion.safetensors_file import map_tensor, parse_header, read_header
from tests.models.diffusers_twin import I2V, I2V_1_5, ROPE, ROPE_1_5, TINY, diffusers_model
from tests.models.vae_twin import SMALL, diffusers_vae
from tests.teachers.tiny_t5 import write_text_folder

VARIANTS = {"2b": TINY, "5b": ROPE, "5b_i2v": I2V, "1_5_5b": ROPE_1_5, "1_5_5b_i2v": I2V_1_5}


def save_transformer(folder: Path, variant: str, dtype: torch.dtype | None = None, shard: str = "40KB") -> Path:
    """A random transformer in several files; without `dtype` as diffusers makes it, with a table in float64."""
    model = diffusers_model(VARIANTS[variant])
    for buffer in model.buffers():
        # Numbers that need all their digits.
        buffer.div_(3)
    (model if dtype is None else model.to(dtype)).save_pretrained(folder, max_shard_size=shard)
    return folder


def save_pipeline(folder: Path, variant: str = "5b_i2v") -> Path:
    """A random pipeline with every part, in a layout as that of the released ones."""
    write_text_folder(folder, d_model=10)
    save_transformer(folder / "transformer", variant)
    diffusers_vae(SMALL).save_pretrained(folder / "vae")
    scheduler, shift = (CogVideoXDDIMScheduler, 3.0) if variant == "2b" else (CogVideoXDPMScheduler, 1.0)
    options = {"snr_shift_scale": shift, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    scheduler(**options).save_pretrained(folder / "scheduler")
    parts = {
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "scheduler": ["diffusers", scheduler.__name__],
    }
    name = "CogVideoXImageToVideoPipeline" if variant.endswith("i2v") else "CogVideoXPipeline"
    index = {"_class_name": name, "_diffusers_version": "0.30.3"} | parts
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
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
