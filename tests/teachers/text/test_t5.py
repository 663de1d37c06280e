import shutil
from pathlib import Path

import numpy as np
import pytest

from sr_jax.backbones.releases import import_pipeline
from sr_jax.conversion.importing import Source
from sr_jax.errors import UserError
from sr_jax.teachers.base import TextTeacher
from sr_jax.teachers.registry import load_text_teacher
from sr_jax.teachers.text.t5 import T5Text
from tests.teachers.tiny_t5 import write_encoder, write_text_folder

TOKENS = 12
PROMPTS = [
    "a man waves",
    "",
    "A woman  in a blue shirt jumps over a small red box, and runs to the old dog in the street",
    "people dance\n slowly",
    "Ünknown 字",
]


def import_text(source: Path, name: str = "imported") -> Path:
    imported = source.parent / name
    import_pipeline(Source(source, str(source)), imported)
    return imported


@pytest.fixture(scope="module")
def source(original, tmp_path_factory):
    return write_text_folder(original, tmp_path_factory.mktemp("t5") / "cogvideox")


@pytest.fixture(scope="module")
def folder(source):
    return import_text(source)


@pytest.fixture(scope="module")
def teacher(folder):
    return T5Text(folder, num_tokens=TOKENS, batch_size=2, dtype="float32")


@pytest.fixture(scope="module")
def expected(original, source):
    """What the pipeline of diffusers gives the transformer."""
    return original("t5").prompt_embeddings(source, PROMPTS, TOKENS)


def test_embeddings_are_those_of_the_pipeline_of_diffusers(teacher, expected):
    got = teacher(PROMPTS)
    assert got.shape == (5, TOKENS, 16) and got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
    assert isinstance(teacher, TextTeacher)


def test_the_empty_prompt_is_not_zero_and_not_all_the_same(teacher):
    (empty,) = teacher([""])
    assert np.abs(empty).mean() > 0.1 and np.abs(empty - empty[:1]).max() > 0.1


def test_captions_do_not_depend_on_company(teacher):
    together = teacher(PROMPTS)
    for prompt, embedding in zip(PROMPTS, together, strict=True):
        np.testing.assert_allclose(teacher([prompt])[0], embedding, atol=1e-6)


def test_bfloat16_is_close(folder, expected):
    section = {"name": "t5", "path": str(folder), "num_tokens": TOKENS, "batch_size": 5, "dtype": "bfloat16"}
    teacher = load_text_teacher(section)
    got = teacher(PROMPTS)
    assert got.dtype == np.float32
    assert 1e-4 < np.linalg.norm(got - expected) / np.linalg.norm(expected) < 2e-2


def test_the_hash_follows_weights_and_tokenizer(original, source, teacher, tmp_path):
    copy = shutil.copytree(source, tmp_path / "source")

    def hash_of(name):
        return T5Text(import_text(copy, name), num_tokens=TOKENS, dtype="bfloat16").weight_hash

    assert hash_of("same") == teacher.weight_hash and len(teacher.weight_hash) == 16
    write_encoder(original, copy / "text_encoder", seed=1)
    other_weights = hash_of("other_weights")
    spelling = copy / "tokenizer" / "tokenizer_config.json"
    spelling.write_text(spelling.read_text() + "\n")
    assert len({teacher.weight_hash, other_weights, hash_of("other_tokenizer")}) == 3


def test_bad_folders_are_told(original, tmp_path):
    with pytest.raises(UserError, match="holds no imported model"):
        T5Text(tmp_path, dtype="float32")
    small = import_text(write_text_folder(original, tmp_path / "source", vocab_size=139))
    with pytest.raises(UserError, match="has 140 tokens, the encoder beside it 139"):
        T5Text(small, dtype="float32")
    (small / "source" / "tokenizer" / "spiece.model").write_bytes(b"damaged")
    with pytest.raises(UserError, match="holds no T5 tokenizer that can be read"):
        T5Text(small, dtype="float32")
    shutil.rmtree(small / "source" / "tokenizer")
    with pytest.raises(UserError, match="no tokenizer in"):
        T5Text(small, dtype="float32")


def test_what_is_cut_off_is_told(teacher):
    words = ["a", "b", "c"] * TOKENS
    long, short = " ".join(words), " ".join(words[: TOKENS // 4])
    assert teacher.cut(short) == ""
    lost = teacher.cut(long)
    assert lost and long.endswith(lost)
    # As much as is lost may be anything, and no more than that.
    kept = long[: -len(lost)]
    np.testing.assert_array_equal(teacher([f"{kept}c c c"]), teacher([long]))
    assert np.abs(teacher([kept[: len(kept) // 2]]) - teacher([long])).max() > 1e-3
