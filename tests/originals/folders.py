"""Folders of models that diffusers and transformers save, and what they load from folders.

What they save comes back as two dicts by file name: the bytes of each file, of `.safetensors` files the header alone,
which says which tensors they hold, and where; and the SHA-256 of each whole file.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers

from sr_jax.conversion.safetensors_file import read_header
from tests.models import tiny_transformers
from tests.originals import t5, transformer, vae

Saved = tuple[dict[str, bytes], dict[str, str]]


def save_transformer(options: dict, dtype: str, shard: str) -> Saved:
    """A transformer with random weights, in files of at most a size.

    Args:
        options: Of its constructor.
        dtype: Of its weights; "" leaves them as diffusers makes them, with a table in float64.
        shard: Size of a file, "40KB" for example.
    """
    model = transformer.build(options, tiny_transformers.weights_of(transformer.shapes(options), 0))
    for buffer in model.buffers():
        # Numbers that need all their digits.
        buffer.div_(3)
    return _saved(model.to(getattr(torch, dtype)) if dtype else model, max_shard_size=shard)


def save_vae(options: dict, dtype: str) -> Saved:
    """An autoencoder with random weights of a type."""
    return _saved(vae.model(options).to(getattr(torch, dtype)))


def save_text_encoder(options: dict, seed: int) -> Saved:
    """A T5 encoder with the random weights of a seed."""
    return _saved(t5.model(options, seed))


def save_scheduler(name: str, options: dict) -> Saved:
    """A scheduler of this class."""
    return _saved(getattr(diffusers, name)(**options))


def load_transformer(folder: Path, names: list[str]) -> tuple[list[str], list[np.ndarray]]:
    """The names of all tensors of the transformer in a folder, and some of the tensors.

    Args:
        folder: What diffusers is to load.
        names: Of the tensors to return.
    """
    tensors = diffusers.CogVideoXTransformer3DModel.from_pretrained(folder).state_dict()
    return sorted(tensors), [tensors[name].numpy() for name in names]


def predict(folder: Path, latents: np.ndarray, text: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
    """The prediction of the transformer in a folder."""
    model = diffusers.CogVideoXTransformer3DModel.from_pretrained(folder)
    return transformer.predict(model, latents, text, timesteps)


def load_text_encoder(folder: Path) -> dict:
    """What transformers loads of a T5 encoder.

    Returns:
        `dtype`; `wrong`, the names of missing and unexpected tensors; `table`, the embedding of the tokens in float32.
    """
    model, info = transformers.T5EncoderModel.from_pretrained(folder, output_loading_info=True)
    wrong = sorted([*info["missing_keys"], *info["unexpected_keys"]])
    table = model.encoder.embed_tokens.weight.detach().float().numpy()
    return {"dtype": str(model.dtype).removeprefix("torch."), "wrong": wrong, "table": table}


def load_scheduler(folder: Path, steps: int) -> dict:
    """What diffusers loads of a scheduler, by the class that its file names.

    Args:
        folder: With `scheduler_config.json`.
        steps: Of sampling.

    Returns:
        `alphas_cumprod` `[T]`, `final_alpha_cumprod`, `prediction_type`, `timesteps` `[steps]`, and `saved`, the file
        that it saves again.
    """
    name = json.loads((folder / "scheduler_config.json").read_text())["_class_name"]
    scheduler = getattr(diffusers, name).from_pretrained(folder)
    scheduler.set_timesteps(steps)
    return {
        "alphas_cumprod": scheduler.alphas_cumprod.numpy(),
        "final_alpha_cumprod": float(scheduler.final_alpha_cumprod),
        "prediction_type": scheduler.config.prediction_type,
        "timesteps": scheduler.timesteps.numpy(),
        "saved": _saved(scheduler)[0]["scheduler_config.json"],
    }


def encode_video(folder: Path, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled mean and standard deviation of a video, computed in float32 by the autoencoder in a folder."""
    model = diffusers.AutoencoderKLCogVideoX.from_pretrained(folder, torch_dtype=torch.float32)
    return vae.encoding(model, video)


def _saved(model, **how) -> Saved:
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name, **how)
        paths = sorted(Path(name).iterdir())
        files = {path.name: read_header(path) if path.suffix == ".safetensors" else path.read_bytes() for path in paths}
        return files, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
