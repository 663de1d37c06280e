"""The T5 encoder of transformers with the weights of `tests.teachers.tiny_t5`.

`options` are arguments of `T5Config`: sizes of an encoder of version 1.1. Token ids are `[B, L]`.
"""

import io
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import transformers
from diffusers import CogVideoXPipeline
from transformers.models.t5.modeling_t5 import T5Attention

from tests.teachers import tiny_t5

_V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "is_encoder_decoder": False}


def shapes(options: dict) -> dict[str, tuple[int, ...]]:
    """Of every weight, by its name; nothing is allocated. The token table has one of its names."""
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in _empty(options).named_parameters()}


def forward(options: dict, seed: int, token_ids: np.ndarray) -> np.ndarray:
    """The embedding of each token."""
    with torch.no_grad():
        return model(options, seed)(torch.from_numpy(token_ids).long())[0].numpy()


def gradients(options: dict, seed: int, token_ids: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Gradients of a weighted sum of the embeddings, by every weight."""
    encoder = model(options, seed)
    (encoder(torch.from_numpy(token_ids).long())[0] * torch.from_numpy(weights)).sum().backward()
    return {name: parameter.grad.numpy() for name, parameter in encoder.named_parameters()}


def distance_buckets(length: int, buckets: int, distance: int) -> np.ndarray:
    """The class of each pair of places: `[L, L]`."""
    offsets = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    return T5Attention._relative_position_bucket(offsets, num_buckets=buckets, max_distance=distance).numpy()


def stored_config(config_json: dict) -> dict:
    """A `config.json` as transformers reads and writes it."""
    return transformers.T5Config(**config_json).to_dict()


def prompt_embeddings(folder: Path, prompts: list[str], num_tokens: int) -> np.ndarray:
    """What the pipeline of diffusers gives the transformer: `[N, L, D]`.

    Args:
        folder: With `tokenizer` and `text_encoder`.
        prompts: N texts.
        num_tokens: L.
    """
    pipeline = CogVideoXPipeline.__new__(CogVideoXPipeline)
    pipeline.tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
    pipeline.text_encoder = transformers.T5EncoderModel.from_pretrained(folder / "text_encoder")
    with torch.no_grad():
        return pipeline._get_t5_prompt_embeds(prompts, max_sequence_length=num_tokens, device="cpu").numpy()


def sentencepiece_model(texts: list[str], pieces: int) -> bytes:
    """A tokenizer of some pieces trained on texts, with T5's special tokens.

    It is recorded although it needs no PyTorch: the last digits of its scores differ between machines.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=pieces,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


def model(options: dict, seed: int) -> transformers.T5EncoderModel:
    """The encoder with its weights; not for tests, but for other modules here."""
    encoder = _empty(options).eval()
    weights = {name: torch.from_numpy(weight) for name, weight in tiny_t5.weights(shapes(options), seed).items()}
    encoder.load_state_dict(weights | {"encoder.embed_tokens.weight": weights["shared.weight"]})
    return encoder


def _empty(options: dict) -> transformers.T5EncoderModel:
    return transformers.T5EncoderModel(transformers.T5Config(**_V1_1 | options))
