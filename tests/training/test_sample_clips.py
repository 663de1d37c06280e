"""Clips that a run generates while it trains: what `sample` would make of them, on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sr_jax.data.builder import read_empty_prompt
from sr_jax.data.pipeline import eval_examples
from sr_jax.errors import UserError
from sr_jax.generation.sampler import Denoiser, SamplingSettings, clip_key, sampling_function
from sr_jax.training.sample_clips import make_sample_clips
from tests.data.synthetic import write_synthetic_dataset
from tests.evaluation.fakes import PatchCodec
from tests.training.run_parts import make_parts

CODEC = f"{__name__}:load"


class _Codec(PatchCodec):
    """A frame is the first channels of its latent frame, enlarged; keeps the latents that it is given."""

    latent_channels = 4

    def __init__(self):
        self.seen = []

    def decode_to_host(self, latents):
        self.seen.append(latents)
        frames = np.repeat(latents[..., :3], 4, axis=1)[:, 3:]
        return np.tanh(frames).repeat(4, axis=2).repeat(4, axis=3)


def load(section):
    codec = _Codec()
    codec.weight_hash = section["path"]
    return codec


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    return write_synthetic_dataset(folder, clips=6, test_clips=5, latent_channels=4)


@pytest.fixture(scope="module")
def make(tiny, data):
    """A function that makes the hook of a base run on a mesh, its parts and its state."""

    def hook_of(sizes=None, stage="base", **overrides):
        section = {"codec.name": CODEC, "codec.path": "c0", "clips": 3, "num_inference_steps": 2, "guidance_scale": 3.0}
        section |= {"sampler": "dpm"}
        config = tiny(stage, **{"data.dir": str(data)}, **{f"samples.{name}": value for name, value in section.items()})
        config.update_from_flattened_dict(overrides)
        config.model.num_layers = 1
        parts, state = make_parts(config, tiny("stage_one"), sizes)
        return make_sample_clips(parts), parts, state

    return hook_of


def test_they_are_what_sampling_makes_of_first_frames_and_captions(make, data):
    hook, parts, state = make()
    found = hook(7, state)
    stage = parts.program.stage
    settings = SamplingSettings("dpm", 2, 3.0, "none")
    denoiser = Denoiser(stage.backbone, stage.transformer, stage.process, settings)
    sampler = jax.jit(sampling_function(denoiser, num_frames=2))
    for number, example in enumerate(list(eval_examples(data, "test"))[:3]):
        latents = sampler(
            state.ema_params["transformer"],
            clip_key(0, example["clip_id"])[None],
            jnp.asarray(example["image_latents"][None, 0]),
            jnp.asarray(example["text_embedding"][None]),
            jnp.asarray(read_empty_prompt(data)),
        )
        np.testing.assert_allclose(hook._codec.seen[number], latents, rtol=1e-4, atol=1e-4)
        video = found[f"samples/{example['clip_id']}"]
        assert video.frames.shape == (5, 16, 16, 3) and video.frames.std() > 10 and video.fps == 8.0
    assert len(found) == 3

    # On 8 devices, of which two hold a clip each, a batch is filled up.
    other, _, state = make({"fsdp": 2, "context": 2, "tensor": 2})
    assert other(7, state).keys() == found.keys()
    np.testing.assert_allclose(other._codec.seen, hook._codec.seen, rtol=1e-4, atol=1e-4)


def test_what_is_no_number_is_left_out(make, caplog):
    hook, _, state = make()
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.ema_params)
    assert hook(7, state.replace(ema_params=broken)) == {}
    assert "no sample clip: the latents of held_out" in caplog.text


def test_factors_sample_beside_what_they_adapt(make):
    hook, parts, state = make(**{"lora.rank": 2})
    [group] = hook._groups
    latents = jax.eval_shape(group.sample, state.ema_params, parts.frozen, group.batch)
    assert latents.shape == (3, 2, 4, 4, 4)


def test_without_a_codec_or_an_interval_there_are_none(make):
    assert make(**{"samples.codec.path": ""})[0] is None
    assert make(**{"samples.every_steps": 0})[0] is None
    assert make(**{"heldout.split": "nowhere"})[0] is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"samples.codec.path": "other"}, r"samples\.codec has the weight_hash 'other', but .* made with 'c0': name"),
        ({"samples.sampler": "euler"}, "unknown sampler 'euler'"),
        ({"model.in_channels": 4}, r"this transformer takes none: set config\.samples\.every_steps=0"),
    ],
)
def test_what_does_not_fit_is_refused(make, overrides, words):
    with pytest.raises(UserError, match=words):
        make(**overrides)
