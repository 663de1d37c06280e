"""The T5 v1.1 encoder of a CogVideoX folder (`text_encoder/`): its config and its tensors, to ours and back."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr_jax.conversion.choices import DTYPES
from sr_jax.conversion.fields import MOST_LAYERS, read_fields, require, shown
from sr_jax.conversion.parts import Identity, PartFiles
from sr_jax.conversion.rules import TensorRule
from sr_jax.errors import UserError
from sr_jax.models.t5 import T5Config

NAME = "t5"
"""What provenance calls this text teacher."""
TOKENIZER = "tokenizer"
"""Its tokenizer's folder in a release."""
_HASH_LENGTH = 16
_ACTIVATION = "gated-gelu"
# What follows from that, and what makes no encoder.
_FIXED = {"dense_act_fn": "gelu_new", "is_gated_act": True, "is_decoder": False}
_WHAT = "the T5 encoder's config"
_ATTENTION = "layer.0.SelfAttention"
_FEED_FORWARD = "layer.1.DenseReluDense"

_BLOCK = {
    **{f"{_ATTENTION}.{name}": ("attention", name, "weight") for name in ("q", "k", "v", "o")},
    **{f"{_FEED_FORWARD}.{name}": ("feed_forward", name, "weight") for name in ("wi_0", "wi_1", "wo")},
    "layer.0.layer_norm": ("attention_norm", "scale"),
    "layer.1.layer_norm": ("feed_forward_norm", "scale"),
}
"""Weights of one block, and where they go, all as they are."""

ALIASES = {"encoder.embed_tokens.weight": "shared.weight"}
"""Names that files have for the token table beside or instead of its own: the encoder shares it with a decoder."""


def config_from_diffusers(config_json: Mapping[str, Any]) -> T5Config:
    """Our config from `text_encoder/config.json` (transformers: `T5Config`).

    Raises:
        UserError: If a size is missing or none, or the encoder is not of version 1.1 (original T5 has no gated GELU).
    """
    activation = config_json.get("feed_forward_proj")
    if activation != _ACTIVATION:
        raise UserError(
            f"the T5 encoder has feed_forward_proj {shown(activation)}: use a T5 v1.1, which has {_ACTIVATION!r}"
        )
    names = [field.name for field in dataclasses.fields(T5Config)]
    # transformers keeps much beside that is for training and for decoders.
    config = read_fields(config_json, T5Config, what=_WHAT, fixed=_FIXED, needed=names, others=True)
    require(config.num_layers <= MOST_LAYERS, _WHAT, "num_layers", config.num_layers, f"at most {MOST_LAYERS}")
    buckets, furthest = config.relative_attention_num_buckets, config.relative_attention_max_distance
    require(buckets % 4 == 0, _WHAT, "relative_attention_num_buckets", buckets, "a multiple of 4")
    require(furthest > buckets // 4, _WHAT, "relative_attention_max_distance", furthest, f"more than {buckets // 4}")
    return config


def config_to_diffusers(config: T5Config) -> dict[str, Any]:
    """A `text_encoder/config.json` that `transformers.T5EncoderModel` loads."""
    return dataclasses.asdict(config) | {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "feed_forward_proj": _ACTIVATION,
        "is_encoder_decoder": False,
        "use_cache": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        # Version 1.1 has it so; transformers takes it for the sign of that version.
        "tie_word_embeddings": False,
    }


def weight_hash(dtype: str, sha256: Mapping[str, str], tokenizer: Path) -> str:
    """First 16 hex digits of the sha256 of what encoder and tokenizer come from.

    Args:
        dtype: That the weights are kept in; empty where it is that of their files.
        sha256: Of the encoder's weight files, by their path in the release.
        tokenizer: Folder of the tokenizer's files.
    """
    weights = [f"{name} {digest}" for name, digest in sha256.items()]
    tokens = [
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:_HASH_LENGTH]}" for path in tokenizer.iterdir()
    ]
    text = "\n".join([dtype, *sorted(weights), *sorted(tokens)])
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def identify(files: PartFiles) -> Identity:
    """As a dataset's provenance has it, see `PartKind.identify`; with every type that the weights may be kept in."""
    tokenizer, hashes = files.source / TOKENIZER, []
    if files.sha256 and tokenizer.is_dir():
        hashes = [weight_hash(dtype, files.sha256, tokenizer) for dtype in dict.fromkeys((files.dtype, "", *DTYPES))]
    return {"entry": "teachers.text", "name": NAME, "weight_hashes": hashes}


def rules(config: T5Config) -> list[TensorRule]:
    """Where every tensor of the encoder lives.

    The token table is stored once, as `shared.weight`; the first block holds the distance bias of all.
    """
    bias = f"encoder.block.0.{_ATTENTION}.relative_attention_bias.weight"
    result = [
        TensorRule("shared.weight", ("token_embedding",), "same"),
        TensorRule(bias, ("relative_attention_bias",), "same"),
        TensorRule("encoder.final_layer_norm.weight", ("final_norm", "scale"), "same"),
    ]
    for layer in range(config.num_layers):
        for name, target in _BLOCK.items():
            result.append(TensorRule(f"encoder.block.{layer}.{name}.weight", ("blocks", layer, *target), "same"))
    return result
