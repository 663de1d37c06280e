"""The whole way from image and prompt to video, against the pipeline of diffusers."""

import dataclasses
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from PIL import Image

from sr_jax.backbones.base import ClipSize
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.config import RELEASED, CogVideoXConfig
from sr_jax.backbones.releases import import_pipeline
from sr_jax.configs import sample
from sr_jax.conversion.importing import Source
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.generation import generator as generation
from sr_jax.generation.assembly import make_pipeline
from sr_jax.generation.sampler import clip_key
from sr_jax.media.video import read_video
from sr_jax.training.denoising import Denoising
from sr_jax.training.objectives import Objectives
from tests.comparison import relative_error
from tests.conversion.folders import save_pipeline
from tests.data.synthetic import write_synthetic_dataset
from tests.evaluation.diffusers_video import (
    FRAMES,
    HEIGHT,
    IMAGE,
    PROMPT,
    SEED,
    STEPS,
    TOKENS,
    WIDTH,
    diffusers_video,
    our_config,
)
from tests.evaluation.fakes import LetterText, PatchCodec
from tests.models.tiny_vae import some_values
from tests.training.helpers import batch_loss
from tests.training.watched import WatchedTransformer

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(original, tmp_path_factory):
    """For each variant a folder of diffusers and our import of it; of 5B-I2V also their folder without its table."""
    result = {}
    for variant in ("5b_i2v", "1_5_5b_i2v"):
        folder = save_pipeline(original, tmp_path_factory.mktemp(variant) / "theirs", variant)
        config = folder / "vae" / "config.json"
        inverted = {"invert_scale_latents": variant == "1_5_5b_i2v"}
        config.write_text(json.dumps(json.loads(config.read_text()) | inverted))
        import_pipeline(Source(folder, str(folder)), folder.parent / "ours")
        result[variant] = (folder, folder.parent / "ours")
    folder, ours = result["5b_i2v"]
    without_table = shutil.copytree(folder, folder.parent / "without_table")
    config = without_table / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_learned_positional_embeddings": False}))
    result["without_table"] = (without_table, ours)
    return result


@pytest.fixture(scope="module")
def load():
    """`load_generator` that loads, and so compiles, each codec and each text teacher once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_codec", "load_text_teacher"):
            real, loaded = getattr(generation, name), {}

            def load_once(section, real=real, loaded=loaded):
                if section["path"] not in loaded:
                    loaded[section["path"]] = real(section)
                return loaded[section["path"]]

            patch.setattr(generation, name, load_once)
        yield generation.load_generator


@pytest.mark.parametrize(
    ("variant", "sampler", "dynamic", "scale", "frames", "steps"),
    [
        ("5b_i2v", "ddim", "none", 6.0, FRAMES, STEPS),
        ("5b_i2v", "ddim", "released", 6.0, FRAMES, STEPS),
        ("5b_i2v", "dpm", "none", 6.0, FRAMES, STEPS),
        ("5b_i2v", "dpm", "released", 6.0, FRAMES, STEPS),
        ("1_5_5b_i2v", "ddim", "none", 6.0, FRAMES, STEPS),
        ("1_5_5b_i2v", "dpm", "released", 6.0, FRAMES, STEPS),
        # No guidance, dynamic or not.
        ("5b_i2v", "dpm", "released", 1.0, FRAMES, 4),
        ("5b_i2v", "ddim", "none", 0.5, FRAMES, 4),
        # Other lengths, the learned table dropped, and steps that do not divide 1000.
        ("without_table", "ddim", "none", 6.0, 1, 7),
        ("without_table", "dpm", "released", 6.0, 17, 7),
        ("1_5_5b_i2v", "ddim", "released", 1.0, 1, 4),
        # 4 latent frames, none of which is cut off.
        ("1_5_5b_i2v", "dpm", "released", 6.0, 16, 7),
    ],
)
def test_the_video_is_that_of_diffusers(original, folders, load, variant, sampler, dynamic, scale, frames, steps):
    theirs, ours = folders[variant]
    latent_frames = {1: 1, 9: 3, 16: 4, 17: 5}[frames]
    if variant == "1_5_5b_i2v":
        # Its temporal patch is 2: of an even number, that many are made, and of an odd one, one more is, and cut off.
        latent_frames += latent_frames % 2
    options = {"guidance_scale": scale, "use_dynamic_cfg": dynamic == "released", "frames": frames, "steps": steps}
    expected = diffusers_video(original, theirs, sampler, latent_frames, **options)

    config = our_config(sampler=sampler, dynamic_guidance=dynamic, guidance_scale=scale, num_inference_steps=steps)
    config.clip.num_frames = frames
    config.position_table = "drop" if variant == "without_table" else "keep"
    pipeline = load(ours, config).pipeline
    latents, video = pipeline.latents(IMAGE, PROMPT, clip_key(SEED, PROMPT)), pipeline(IMAGE, PROMPT, seed=SEED)
    assert video.shape == (frames, HEIGHT, WIDTH, 3)
    for got, wanted in zip((latents, some_values(video)), expected, strict=True):
        assert np.isfinite(wanted).all()
        assert relative_error(got, wanted) < 1e-3


@pytest.mark.parametrize("variant", ["5b_i2v", "1_5_5b_i2v"])
def test_training_conditions_on_the_image_as_the_pipeline_of_diffusers_does(original, folders, load, variant):
    theirs, ours = folders[variant]
    image = np.random.default_rng(1).uniform(-1, 1, (1, 1, HEIGHT, WIDTH, 3)).astype(np.float32)
    # Records hold the mean of the posterior.
    wanted = original("pipeline").image_condition(theirs, image[:, 0], FRAMES)
    temporal_patch = {"5b_i2v": 1, "1_5_5b_i2v": 2}[variant]

    codec = load(ours, our_config()).pipeline.codec
    image_latents = codec.image_condition_factor * codec.encode(jnp.asarray(image))[0]
    shape = (1, 3, HEIGHT // 4, WIDTH // 4, 4)
    batch = {name: jnp.zeros(shape) for name in ("latent_mean", "latent_std")}
    batch["image_latents"] = jnp.stack([image_latents] * 2, axis=1)
    batch |= {"text_embedding": jnp.zeros((1, TOKENS, 10)), "depth_latent": jnp.zeros(shape)}
    batch |= {"face_embedding": jnp.zeros((1, 3, 8)), "face_mask": jnp.ones((1, 3))}
    transformer = WatchedTransformer(HEIGHT // 4, WIDTH // 4, 4)
    backbone = CogVideoX(CogVideoXConfig(in_channels=8, out_channels=4, patch_size_t=temporal_patch))
    stage = Denoising(backbone, transformer, VPrediction(), Objectives({}), {}, 0.0, 0.0, dict)
    batch_loss(stage)({"transformer": {}}, {}, batch, jax.random.key(0))
    assert relative_error(transformer.inputs[0, ..., 4:], wanted) < 1e-5


def test_the_lines_of_the_page_on_sampling_make_a_video(folders, load, monkeypatch, tmp_path):
    page = (_ROOT / "docs/sampling.md").read_text()
    [lines] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # Their config fits released weights, ours these small ones.
    config = our_config(num_inference_steps=2)
    asked = []
    monkeypatch.setattr(sample, "get_config", lambda size: asked.append(size) or config)
    monkeypatch.chdir(tmp_path)
    Path("MODEL").symlink_to(folders["5b_i2v"][1])
    cv2.imwrite("face.png", IMAGE[..., ::-1])
    made = {}
    exec(lines, made)
    assert asked == ["cogvideox"]
    np.testing.assert_allclose(made["video"], made["pipeline"](IMAGE, PROMPT, seed=0), atol=1e-5)
    frames, fps = read_video(Path("clip.mp4"))
    assert (frames.shape, fps) == ((FRAMES, HEIGHT, WIDTH, 3), 8.0)


def test_the_command_makes_a_clip_of_the_frames_asked_for(folders, load, monkeypatch, tmp_path):
    cv2.imwrite(str(tmp_path / "face.png"), IMAGE[..., ::-1])
    values = {"": "configs/sample.py:cogvideox", ".text.num_tokens": TOKENS, ".num_inference_steps": 1}
    values[".mesh.context"] = 1
    values |= {f"{section}.dtype": "float32" for section in ("", ".codec", ".text")}
    values |= {".clip.num_frames": 16, ".clip.height": HEIGHT, ".clip.width": WIDTH}
    arguments = [f"--config{name}={value}" for name, value in values.items()]
    arguments += [f"--checkpoint={folders['1_5_5b_i2v'][1]}", f"--image={tmp_path / 'face.png'}", f"--prompt={PROMPT}"]
    output = tmp_path / "clips" / "clip.mp4"
    monkeypatch.setattr(sys, "argv", ["sample", *arguments, f"--output={output}"])
    # As a command it is a module of its own.
    monkeypatch.delitem(sys.modules, "sr_jax.sample", raising=False)
    runpy.run_module("sr_jax.sample", run_name="__main__")
    frames, fps = read_video(output)
    assert (frames.shape, fps) == ((16, HEIGHT, WIDTH, 3), 16.0)
    assert [path.name for path in output.parent.iterdir()] == ["clip.mp4"]


def test_a_pil_image_is_taken_too(folders, load):
    pipeline = load(folders["1_5_5b_i2v"][1], our_config(num_inference_steps=1)).pipeline
    transparent = Image.fromarray(IMAGE).convert("RGBA")
    np.testing.assert_array_equal(pipeline(transparent, PROMPT), pipeline(IMAGE, PROMPT))


def test_a_prompt_of_more_tokens_than_the_model_takes_is_said(folders, load, caplog):
    pipeline = load(folders["1_5_5b_i2v"][1], our_config(num_inference_steps=1)).pipeline
    for prompt in ("a", " ".join(["a"] * 2 * TOKENS)):
        pipeline.latents(IMAGE, prompt, clip_key(0, prompt))
    (said,) = [message for message in caplog.messages if "prompt" in message]
    assert said.startswith("the prompt has more tokens than the model takes: 'a ") and said.endswith("is not read")


@pytest.mark.parametrize(
    ("image", "prompt", "words"),
    [
        (IMAGE[..., 0], PROMPT, "the image is an array [50, 40] of uint8: give uint8 RGB pixels"),
        (IMAGE[..., [0, 1, 2, 0]], PROMPT, "the image is an array [50, 40, 4] of uint8"),
        (IMAGE / 255, PROMPT, "the image is an array [50, 40, 3] of float64"),
        (IMAGE[:0], PROMPT, "the image is an array [0, 40, 3] of uint8"),
        ("face.png", PROMPT, "the image is a str: give uint8 RGB pixels [height, width, 3] or a PIL image"),
        (IMAGE, [PROMPT], "the prompt is a list: give one string, and call once for each video"),
    ],
)
def test_other_images_and_prompts_are_refused(folders, load, monkeypatch, image, prompt, words):
    pipeline = load(folders["1_5_5b_i2v"][1], our_config(num_inference_steps=1)).pipeline
    # As for users, whose calls nothing else checks.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for call in (pipeline, lambda *inputs: pipeline.latents(*inputs, clip_key(0, PROMPT))):
        with pytest.raises(UserError, match=re.escape(words)):
            call(image, prompt)


def test_the_released_sizes():
    sizes = {name: CogVideoX(config).clip_size(8) for name, config in RELEASED.items()}
    assert sizes["5b_i2v"] == ClipSize(49, 480, 720, 8.0)
    assert sizes["1_5_5b_i2v"] == ClipSize(81, 768, 1360, 16.0)
    # As in some copies of its config.
    copied = dataclasses.replace(RELEASED["1_5_5b_i2v"], sample_height=300, sample_width=300)
    assert CogVideoX(copied).clip_size(8) == ClipSize(81, 768, 1360, 16.0)


def test_an_import_asks_for_the_config_of_released_weights(folders):
    with pytest.raises(UserError, match=r"is an import .*linear.*: use --config configs/sample\.py:cogvideox"):
        generation.load_generator(folders["5b_i2v"][1], sample.get_config("people"))


def test_released_weights_have_a_size_of_their_own(folders, load):
    config = our_config()
    config.clip.update(num_frames=0, height=0, width=0)
    assert load(folders["5b_i2v"][1], config).pipeline.clip == ClipSize(9, 32, 48, 8.0)
    assert load(folders["1_5_5b_i2v"][1], config).pipeline.clip == ClipSize(9, 80, 96, 16.0)


def test_another_size_needs_a_decision_about_the_learned_table(folders, load):
    config = our_config()
    config.clip.update(num_frames=17, height=24, width=40)
    with pytest.raises(UserError, match=r"latents of \(3, 8, 12\) \(T, H, W\), not \(5, 6, 10\)"):
        load(folders["5b_i2v"][1], config)
    config.position_table, config.num_inference_steps = "drop", 1
    pipeline = load(folders["5b_i2v"][1], config).pipeline
    image_latents, text = np.zeros((1, 1, 6, 10, 4), np.float32), pipeline.text([PROMPT])
    assert pipeline.sample(clip_key(SEED, PROMPT)[None], image_latents, text, text).shape == (1, 5, 6, 10, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_fit": "squeeze"}, "config.image_fit is 'squeeze': it must be crop or stretch"),
        ({"dynamic_guidance": ""}, "dynamic_guidance is '': it must be none, released or cosine"),
        ({"sampler": "euler"}, "unknown sampler 'euler': choose one of ddim, dpm"),
        ({"num_inference_steps": 0}, "config.num_inference_steps is 0: it must be a whole number, at least 1"),
        ({"batch_size": 0}, "config.batch_size is 0: it must be a whole number, at least 1"),
        ({"dtype": "fp16"}, "config.dtype is 'fp16': it must be empty, float32 or bfloat16"),
        ({"codec": {"dtype": "float8"}}, "config.codec.dtype is 'float8': it must be float32 or bfloat16"),
        ({"text": {"dtype": "half"}}, "config.text.dtype is 'half': it must be float32 or bfloat16"),
        ({"clip": {"height": 30}}, "clips of 30x48 pixels do not fit codec and transformer: use 32x48, or other"),
        ({"clip": {"width": 44}}, "clips of 32x44 pixels do not fit codec and transformer: use 32x48, or other"),
        ({"clip": {"num_frames": 13}}, "a clip of 13 frames does not fit the CogVideoX autoencoder: use 9 or 16 "),
        ({"clip": {"fps": -8.0}}, "config.clip.fps is -8.0: it must be a number, at least 0"),
        ({"clip": {"num_frames": 17}}, "the learned position table is for latents of (3, 8, 12) (T, H, W), not (5,"),
    ],
)
def test_options_that_do_not_fit_are_told_before_the_text_encoder_is_loaded(folders, load, monkeypatch, changes, words):
    monkeypatch.setattr(generation, "load_text_teacher", lambda section: pytest.fail(f"loaded {section}"))
    with pytest.raises(UserError, match=re.escape(words)):
        load(folders["5b_i2v"][1], our_config(**changes))


def test_a_transformer_that_takes_no_image_is_refused(folders):
    trained = {"backbone": "cogvideox", "model": {"in_channels": 4, "out_channels": 4}, "schedule": {}}
    with pytest.raises(UserError, match="makes latents of 4 channels from no image"):
        make_pipeline(our_config(), {}, trained, PatchCodec(), LetterText(), ClipSize(9, 32, 48, 8.0))


@pytest.mark.parametrize("option", ["image_fit", "dynamic_guidance", "position_table"])
def test_an_unknown_option_is_told_before_anything_is_built(option):
    with pytest.raises(UserError, match=f"{option} is 'linear': choose one of "):
        make_pipeline(our_config(**{option: "linear"}), {}, {}, PatchCodec(), LetterText(), ClipSize(9, 32, 48, 8.0))


def test_released_weights_take_datasets_of_their_own_codec_and_text_only(folders, load, tmp_path):
    generator = load(folders["5b_i2v"][1], our_config())
    with pytest.raises(UserError, match=r"config\.codec has the name 'cogvideox_vae', but .* was made with 'fake'"):
        generator.require_fitting(write_synthetic_dataset(tmp_path, clips=1))
