"""Plans of sampling: what each device holds while each part runs, by tiny networks on virtual devices."""

import dataclasses

import jax
import pytest

from sr_jax import command_line, plan
from sr_jax.backbones.cogvideox import released
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.vae_network import CogVideoXVAEConfig
from sr_jax.checkpoints.networks import transformer_network
from sr_jax.configs.sample import get_config
from sr_jax.errors import UserError
from sr_jax.planning import sampling, sampling_report
from sr_jax.planning.topologies import get_topology
from tests.models.test_t5 import TINY as TEXT_ENCODER
from tests.models.tiny_transformers import I2V
from tests.models.tiny_vae import SMALL

MODEL = dataclasses.replace(I2V, text_embed_dim=TEXT_ENCODER.d_model, num_layers=1)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setattr(released, "TRANSFORMERS", {"tiny": MODEL})
    monkeypatch.setattr(released, "AUTOENCODERS", {"5b_i2v": CogVideoXVAEConfig(**SMALL)})
    monkeypatch.setattr(sampling, "T5Config", lambda: TEXT_ENCODER)
    config = get_config("cogvideox")
    config.num_inference_steps, config.text.num_tokens = 2, MODEL.max_text_seq_length
    config.mesh.update(fsdp=1, context=4, tensor=2)
    return config


def _count(network) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(network.abstract_params()))


def test_each_part_is_measured_with_what_stays_beside_it(config):
    found = sampling.plan_sampling(config, "tiny", get_topology("cpu:8"))
    text, transformer, decoder = found.parts
    assert (found.clip.num_frames, found.clip.height, found.clip.width) == (9, 32, 48)
    assert [part.name for part in found.parts] == ["text encoder", "transformer", "decoder"]
    assert [part.num_devices for part in found.parts] == [1, 8, 1]
    assert found.fits is None and all(part.compiled for part in found.parts)
    # bfloat16, and tokens of 4 bytes.
    assert text.resident == 0 and text.inputs == 4 * config.text.num_tokens
    # Of a device of eight, of kernels an eighth or a fourth, of biases more.
    total = 2 * _count(transformer_network(CogVideoX(MODEL)))
    assert total / 8 < transformer.weights < total / 2
    assert decoder.resident == transformer.weights
    # Float32 weights of the autoencoder, and the decoder's smaller step is not what is told.
    decoding = decoder.weights + decoder.temporaries
    assert decoder.weights > 4 * 1000 and decoder.total >= decoding + decoder.resident

    config.transformer_stays = False
    alone = sampling.plan_sampling(config, "tiny", get_topology("cpu:8"), ("decoder",))
    assert [part.name for part in alone.parts] == ["decoder"] and alone.parts[0].resident == 0

    text = sampling_report.to_text(found)
    assert "transformer on each of 8 devices: compiled in" in text and "The memory of these devices is not" in text
    enough = dataclasses.replace(found, capacity=max(part.total for part in found.parts))
    assert enough.fits and sampling_report.to_text(enough).endswith("of a device (100%).")
    short = dataclasses.replace(found, capacity=enough.capacity - 1)
    assert not short.fits and "NO, it does not fit: " in sampling_report.verdict(short)
    written = sampling_report.to_json(short)
    assert written["fits"] is False and written["totals"]["decoder"] == decoder.total


@pytest.mark.parametrize(
    ("changes", "model", "words"),
    [
        ({"codec.name": "sr_jax.demo.linear_codec:load"}, "tiny", "planned with the codec of a released family and t5"),
        ({}, "5b_i3v", "no checkpoint in 5b_i3v: name one, or one of tiny"),
        (
            {"mesh.fsdp": 8, "mesh.context": 1, "mesh.tensor": 1},
            "tiny",
            r"config\.batch_size is 1: it must be a multiple",
        ),
        ({"clip.height": 40}, "tiny", "latents of"),
    ],
)
def test_what_cannot_be_sampled_is_refused(config, changes, model, words):
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=words):
        sampling.plan_sampling(config, model, get_topology("cpu:8"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--config=configs/stage_two.py:5b_i2v", "--sample=5b_i2v"),
            "--sample goes with a config of configs/sample.py",
        ),
        (("--config=configs/sample.py:cogvideox",), "--sample goes with a config of configs/sample.py"),
        (("--config=configs/sample.py:cogvideox", "--sample=5b", "--search"), "leave it out with --sample"),
    ],
)
def test_flags_that_do_not_go_together(monkeypatch, arguments, words):
    plan.FLAGS.unparse_flags()
    for name in ("config", "sample", "search", "topology"):
        plan.FLAGS[name].unparse()
    command_line.parse(plan.FLAGS, ["plan", "--topology=cpu:8", *arguments], keys_of=plan.keys_of)
    with pytest.raises(UserError, match=words):
        plan.main(plan.FLAGS)
