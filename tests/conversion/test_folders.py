"""The folders that other tests take for those of diffusers."""

import dataclasses
import hashlib

import pytest

from tests.conversion.folders import VARIANTS, contents, save_pipeline, save_transformer, save_vae, scheduler_of
from tests.models.tiny_vae import SMALL
from tests.teachers.tiny_t5 import TINY_ENCODER, write_encoder


def sha256(folder):
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents(folder).items()}


def saved_transformer(original, variant, dtype="", shard="40KB"):
    return original("folders").save_transformer(dataclasses.asdict(VARIANTS[variant]), dtype, shard)[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_file_of_a_pipeline_is_what_diffusers_saves(tmp_path, original, variant):
    save_pipeline(original, tmp_path, variant)
    assert sha256(tmp_path / "transformer") == saved_transformer(original, variant)
    assert sha256(tmp_path / "vae") == original("folders").save_vae(SMALL, "float32")[1]
    assert (
        sha256(tmp_path / "text_encoder") == original("folders").save_text_encoder(TINY_ENCODER | {"d_model": 10}, 0)[1]
    )
    assert sha256(tmp_path / "scheduler") == original("folders").save_scheduler(*scheduler_of(variant))[1]


@pytest.mark.parametrize(
    ("variant", "dtype", "shard"),
    [
        ("5b_i2v", "float32", "40KB"),
        ("5b_i2v", "bfloat16", "40KB"),
        ("2b", "float16", "40KB"),
        ("2b", "", "10GB"),
    ],
)
def test_every_file_of_a_transformer_is_what_diffusers_saves(tmp_path, original, variant, dtype, shard):
    save_transformer(original, tmp_path, variant, dtype, shard)
    assert sha256(tmp_path) == saved_transformer(original, variant, dtype, shard)


def test_every_file_of_an_autoencoder_is_what_diffusers_saves(tmp_path, original):
    save_vae(original, tmp_path, "bfloat16")
    assert sha256(tmp_path) == original("folders").save_vae(SMALL, "bfloat16")[1]


@pytest.mark.parametrize("options", [{}, {"vocab_size": 139}, {"seed": 1}])
def test_every_file_of_a_text_encoder_is_what_transformers_saves(tmp_path, original, options):
    write_encoder(original, tmp_path, **options)
    seed = options.pop("seed", 0)
    assert sha256(tmp_path) == original("folders").save_text_encoder(TINY_ENCODER | options, seed)[1]
