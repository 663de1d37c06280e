"""Folders of models that diffusers and transformers save, and what they load from folders.

What they save comes back as two dicts by file name: the bytes of each file, of `.safetensors` files the header alone,
which says which tensors they hold, and where; and the SHA-256 of each whole file.
"""

import hashlib
import tempfile
from pathlib import Path

import diffusers
import torch

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


def _saved(model, **how) -> Saved:
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name, **how)
        paths = sorted(Path(name).iterdir())
        files = {path.name: read_header(path) if path.suffix == ".safetensors" else path.read_bytes() for path in paths}
        return files, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
