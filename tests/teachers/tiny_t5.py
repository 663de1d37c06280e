"""A T5 encoder and tokenizer that are tiny and of the released form: a SentencePiece model and safetensors weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.conversion.saved import write_saved
from tests.originals.recording import Original, random_weights

_CAPTIONS = [
    "a man walks to the left and waves",
    "a woman in a blue shirt jumps over a small red box",
    "the old dog runs in the street.",
    "people dance, slowly",
]
_TOKENIZER_CONFIG = {
    "tokenizer_class": "T5Tokenizer",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "extra_ids": 100,
    "model_max_length": 512,
}
TINY_ENCODER = {"d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3, "d_model": 16, "vocab_size": 140}


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Weights by the names of transformers, every one random, so that none is without effect."""

    def rule(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
        if len(shape) == 1:
            return 1 + np.float32(0.3) * noise
        return noise if "shared" in name or "bias" in name else noise / np.sqrt(np.float32(shape[1]))

    return random_weights(shapes, seed, rule)


def write_tokenizer(original: Callable[[str], Original], folder: Path) -> Path:
    """A tokenizer of 40 pieces, trained on a few captions, with T5's special tokens."""
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(original("t5").sentencepiece_model(_CAPTIONS * 3, 40))
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG))
    return folder


def write_encoder(original: Callable[[str], Original], folder: Path, *, seed: int = 0, **sizes: int) -> Path:
    """An encoder with random weights, as transformers saves it, of sizes that are not those of `TINY_ENCODER`."""
    files, _ = original("folders").save_text_encoder(TINY_ENCODER | sizes, seed)
    return write_saved(folder, files, lambda shapes: weights(shapes, seed))


def write_text_folder(original: Callable[[str], Original], folder: Path, **options) -> Path:
    """Writes `tokenizer/` and `text_encoder/` as in a CogVideoX folder."""
    write_tokenizer(original, folder / "tokenizer")
    write_encoder(original, folder / "text_encoder", **options)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "CogVideoXImageToVideoPipeline"}))
    return folder
