"""The text teacher of the released CogVideoX models: T5 v1.1 XXL, from an imported model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from sr_jax.backbones.releases import open_component
from sr_jax.conversion.imported import SOURCE_FOLDER, read_record
from sr_jax.conversion.t5 import NAME, TOKENIZER, weight_hash
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional
from sr_jax.models.t5 import T5Encoder
from sr_jax.parallel.batches import to_first_device
from sr_jax.parallel.placed import Placed
from sr_jax.sections import Section, value, weights_path
from sr_jax.teachers.base import TextTeacher

TEXT_TOKENS = 226
"""Tokens of a prompt in every released CogVideoX model."""

_TOKENIZER = SOURCE_FOLDER / TOKENIZER


def load(section: Section) -> TextTeacher:
    """Loads `{"name": "t5", "path": FOLDER, "num_tokens": 226, "batch_size": 8, "dtype": "bfloat16"}`.

    `path` is what `python -m sr_jax.convert import` wrote.

    Raises:
        UserError: For a missing entry, or weights or a tokenizer that cannot be read.
    """
    names = ("num_tokens", "batch_size", "dtype")
    return T5Text(weights_path(section), **{name: value(section, name) for name in names})


class T5Text(TextTeacher):
    """Embeds captions as the CogVideoX pipelines do (diffusers: `CogVideoXPipeline._get_t5_prompt_embeds`).

    Captions are padded or cut to one length and embedded without an attention mask: the padding takes part, in the
    encoder and later in the transformer. The models are trained so.

    Attributes:
        name: What provenance calls this teacher.
        weight_hash: Of the encoder's weights and the tokenizer's files.
    """

    name = NAME

    def __init__(self, folder: Path, *, num_tokens: int = TEXT_TOKENS, batch_size: int = 8, dtype: DTypeLike):
        """Loads the tokenizer; no network. The encoder is read to the first device when it is first used.

        Args:
            folder: What `python -m sr_jax.convert import` wrote; its tokenizer and text encoder are read.
            num_tokens: Tokens of every caption.
            batch_size: Captions in one call of the encoder.
            dtype: Of the parameters and of computing; XXL needs 9.5 GB in bfloat16.

        Raises:
            UserError: If a file is missing, or tokenizer and encoder do not fit together.
        """
        self._num_tokens, self._batch_size = num_tokens, batch_size
        config, params = open_component(folder, "text_encoder")
        self._tokenizer = _load_tokenizer(folder / _TOKENIZER)
        if len(self._tokenizer) > config.vocab_size:
            raise UserError(
                f"the tokenizer in {folder} has {len(self._tokenizer)} tokens, the encoder beside it "
                f"{config.vocab_size}: use two that belong together"
            )
        encoder = Functional(lambda rngs: T5Encoder(config, rngs=rngs, dtype=dtype))
        self._weights = Placed(jax.tree.map(lambda leaf: leaf.astype(dtype), params), to_first_device)
        self._encode = encoder.apply
        record = read_record(folder)
        self.weight_hash = weight_hash(record.dtype, record.files_of("text_encoder"), folder / _TOKENIZER)

    def __call__(self, prompts: Sequence[str]) -> Float[np.ndarray, "n l d"]:
        """Returns float32 `[N, num_tokens, D]`; D is 4096 for XXL."""
        batches = [
            self._embed(prompts[start : start + self._batch_size]) for start in range(0, len(prompts), self._batch_size)
        ]
        return np.concatenate(batches)

    def cut(self, prompt: str) -> str:
        """The end of a caption that has no tokens, as `TextTeacher`; the last token is the end of the text."""
        tokens = self._tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        return self._tokenizer.decode(tokens[self._num_tokens - 1 :])

    def release(self) -> None:
        """Takes the encoder off the device; see `TextTeacher`."""
        self._weights.release()

    def _embed(self, prompts: Sequence[str]) -> Float[np.ndarray, "n l d"]:
        # Filled up to one size, so that one shape is compiled.
        filled = [*prompts, *[""] * (self._batch_size - len(prompts))]
        embedding = self._encode(self._weights.tree, jnp.asarray(self._tokens(filled)))
        return np.asarray(embedding[: len(prompts)].astype(jnp.float32))

    def _tokens(self, prompts: Sequence[str]) -> Int[np.ndarray, "n l"]:
        options = {"padding": "max_length", "max_length": self._num_tokens, "truncation": True}
        return self._tokenizer(list(prompts), **options, return_tensors="np")["input_ids"].astype(np.int32)


def _load_tokenizer(folder: Path) -> Any:
    # Slow to import, and only this teacher needs it.
    from transformers import T5TokenizerFast

    if not folder.is_dir():
        raise UserError(f"no tokenizer in {folder}: import a whole model")
    # A missing file, a damaged one and a missing package arrive as different exceptions.
    try:
        return T5TokenizerFast.from_pretrained(folder)
    except Exception as error:
        raise UserError(f"{folder} holds no T5 tokenizer that can be read ({error}): import it again") from error
