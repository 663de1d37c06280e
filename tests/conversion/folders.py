"""Tiny random folders, bit by bit as diffusers saves them, and what to compare them by."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from flax import traverse_util

from sr_jax.backbones.cogvideox import transformer_weights as transformer
from sr_jax.backbones.cogvideox.config import CogVideoXConfig
from sr_jax.conversion.rules import to_theirs
from sr_jax.conversion.safetensors_file import map_tensor, parse_header, read_header
from sr_jax.models.functional import Params
from tests.conversion.saved import write_saved
from tests.models import tiny_transformers, tiny_vae
from tests.models.tiny_transformers import I2V, I2V_1_5, ROPE, ROPE_1_5, TINY
from tests.originals.recording import Original
from tests.teachers.tiny_t5 import write_text_folder

VARIANTS = {"2b": TINY, "5b": ROPE, "5b_i2v": I2V, "1_5_5b": ROPE_1_5, "1_5_5b_i2v": I2V_1_5}


def save_transformer(
    original: Callable[[str], Original], folder: Path, variant: str, dtype: str = "", shard: str = "40KB"
) -> Path:
    """A random transformer in several files; without `dtype` as diffusers makes it, with a table in float64."""
    files, _ = original("folders").save_transformer(dataclasses.asdict(VARIANTS[variant]), dtype, shard)
    return write_saved(folder, files, _transformer_weights)


def save_vae(original: Callable[[str], Original], folder: Path, dtype: str = "float32") -> Path:
    """A random autoencoder."""
    files, _ = original("folders").save_vae(tiny_vae.SMALL, dtype)
    return write_saved(folder, files, tiny_vae.weights)


def save_pipeline(original: Callable[[str], Original], folder: Path, variant: str = "5b_i2v") -> Path:
    """A random pipeline with every part, in a layout as that of the released ones."""
    write_text_folder(original, folder, d_model=10)
    save_transformer(original, folder / "transformer", variant)
    save_vae(original, folder / "vae")
    scheduler, options = scheduler_of(variant)
    write_saved(folder / "scheduler", original("folders").save_scheduler(scheduler, options)[0], dict)
    parts = {
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "scheduler": ["diffusers", scheduler],
    }
    name = "CogVideoXImageToVideoPipeline" if variant.endswith("i2v") else "CogVideoXPipeline"
    index = {"_class_name": name, "_diffusers_version": "0.30.3"} | parts
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def scheduler_of(variant: str) -> tuple[str, dict]:
    """Class and options of a released pipeline's scheduler."""
    name, shift = ("CogVideoXDDIMScheduler", 3.0) if variant == "2b" else ("CogVideoXDPMScheduler", 1.0)
    return name, {"snr_shift_scale": shift, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}


def their_tensors(params: Params, config: CogVideoXConfig) -> dict[str, np.ndarray]:
    """Our parameters of a transformer under the names of diffusers, in its layout."""
    flat = traverse_util.flatten_dict(params)
    return {
        rule.source: to_theirs(
            flat[rule.target] if rule.layer is None else flat[rule.target][rule.layer], rule.layout, rule.kernel
        )
        for rule in transformer.rules(config)
    }


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


def _transformer_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    weights, table = tiny_transformers.weights_of(shapes, 0), "patch_embed.pos_embedding"
    # Numbers that need all their digits.
    return weights | {table: weights[table].astype(np.float64) / 3} if table in weights else weights
