"""The demo's text teacher: captions to token embeddings, with word vectors that a package carries."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from sr_jax.errors import UserError
from sr_jax.sections import Section, value
from sr_jax.teachers.base import TextTeacher, file_hash


def load(section: Section) -> TextTeacher:
    """Loads the teacher with the section's `num_tokens`.

    Raises:
        UserError: When the entry or the package is missing.
    """
    return WordLlamaText(value(section, "num_tokens"))


class WordLlamaText(TextTeacher):
    """Token vectors of WordLlama (256 wide, Llama-2 vocabulary), read from the installed `wordllama` package.

    A small offline stand-in for T5. The vectors do not know their context, and the transformer gives text no
    positions, so a sinusoidal code of the token's place is added. Vectors have about unit variance; padding is 0.
    """

    name = "wordllama"

    def __init__(self, num_tokens: int):
        """Loads vectors and tokenizer; no network.

        Args:
            num_tokens: Tokens of every caption, by padding or cutting.

        Raises:
            UserError: If the package is not installed or holds other files than expected.
        """
        weights, tokenizer = _package_files()
        table = load_file(weights)["embedding.weight"].astype(np.float32)
        self.weight_hash = file_hash(weights)
        self._table = table / table.std()
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._positions = sinusoids(num_tokens, table.shape[1])

    def __call__(self, prompts: Sequence[str]) -> Float[np.ndarray, "n l d"]:
        """Returns float32 `[N, num_tokens, 256]`."""
        output = np.zeros((len(prompts), *self._positions.shape), np.float32)
        for row, prompt in zip(output, prompts):
            ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids[: len(row)]
            # Divided by the root of 1 + 1/2, the variance of vector plus code.
            row[: len(ids)] = (self._table[ids] + self._positions[: len(ids)]) / np.sqrt(1.5)
        return output

    def cut(self, prompt: str) -> str:
        """The end of a caption that has no tokens, as `TextTeacher`."""
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        return self._tokenizer.decode(ids[len(self._positions) :])


def sinusoids(length: int, width: int) -> Float[np.ndarray, "l d"]:
    """Returns sines, then cosines, of the place of each token.

    As in the Transformer (Vaswani et al. 2017, section 3.5), but the slowest frequency turns once by one radian over
    `length`, not over 10,000 places: captions are short.
    """
    frequencies = float(length) ** -(np.arange(width // 2) / (width // 2))
    angles = np.arange(length)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _package_files() -> tuple[Path, Path]:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the text teacher wordllama needs its package: pip install wordllama==0.4.0.post1")
    root = Path(spec.submodule_search_locations[0])
    weights = root / "weights" / "l2_supercat_256.safetensors"
    tokenizer = root / "tokenizers" / "l2_supercat_tokenizer_config.json"
    for file in (weights, tokenizer):
        if not file.is_file():
            raise UserError(f"{file} is missing: install wordllama==0.4.0.post1")
    return weights, tokenizer
