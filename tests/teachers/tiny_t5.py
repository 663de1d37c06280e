"""A T5 encoder and tokenizer that are tiny and of the released form: a SentencePiece model and safetensors weights."""

import json
from pathlib import Path

import sentencepiece
import torch
import transformers

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


def write_tokenizer(folder: Path) -> Path:
    """Trains a tokenizer of 40 pieces on a few captions, with T5's special tokens."""
    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CAPTIONS * 3),
        model_prefix=str(folder / "spiece"),
        vocab_size=40,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG))
    return folder


def random_encoder(*, d_model: int = 16, vocab_size: int = 140, seed: int = 0) -> transformers.T5EncoderModel:
    """An encoder with random weights, the distance bias among them."""
    sizes = {"d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3}
    config = transformers.T5Config(
        **sizes, d_model=d_model, vocab_size=vocab_size, feed_forward_proj="gated-gelu", tie_word_embeddings=False
    )
    torch.manual_seed(seed)
    model = transformers.T5EncoderModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "shared" in name or "relative" in name:
                parameter.copy_(torch.randn(parameter.shape))
    return model


def write_text_folder(folder: Path, **options) -> Path:
    """Writes `tokenizer/` and `text_encoder/` as in a CogVideoX folder."""
    write_tokenizer(folder / "tokenizer")
    random_encoder(**options).save_pretrained(folder / "text_encoder")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "CogVideoXImageToVideoPipeline"}))
    return folder
