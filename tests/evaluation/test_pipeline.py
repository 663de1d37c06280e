"""The whole way from image and prompt to video, against the pipeline of diffusers."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXImageToVideoPipeline
from diffusers.models.autoencoders import vae as posterior
from diffusers.schedulers import scheduling_dpm_cogvideox
from PIL import Image

from configs.sample import get_config
from sr_jax.conversion.importing import Source, import_pipeline
from sr_jax.errors import UserError
from sr_jax.evaluation import generation
from sr_jax.evaluation.pipeline import ClipSize, fit_image, make_pipeline
from sr_jax.evaluation.sampling import clip_key
from tests.conversion.folders import save_pipeline
from tests.data.synthetic import write_synthetic_dataset
from tests.evaluation.fakes import LetterText, PatchCodec
from tests.models.vae_twin import relative_error, to_ours

# Small frames of another aspect than the image.
FRAMES, HEIGHT, WIDTH, TOKENS, STEPS, SEED = 9, 32, 48, 5, 7, 3
PROMPT = "a woman waves"
SCHEDULER = {"snr_shift_scale": 1.0, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
SCHEDULER |= {"timestep_spacing": "trailing", "clip_sample": False}
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each variant a folder of diffusers and our import of it."""
    result = {}
    for variant in ("5b_i2v", "1_5_5b_i2v"):
        folder = save_pipeline(tmp_path_factory.mktemp(variant) / "theirs", variant)
        config = folder / "vae" / "config.json"
        inverted = {"invert_scale_latents": variant == "1_5_5b_i2v"}
        config.write_text(json.dumps(json.loads(config.read_text()) | inverted))
        import_pipeline(Source(folder, str(folder)), folder.parent / "ours")
        result[variant] = (folder, folder.parent / "ours")
    return result


def our_config(**changes):
    config = get_config("cogvideox")
    config.dtype = config.codec.dtype = config.text.dtype = "float32"
    config.text.num_tokens = TOKENS
    config.clip.update(num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    config.num_inference_steps = STEPS
    config.update(changes)
    return config


def normal(key, *shape):
    """A draw of ours, in the layout of diffusers' latents: frames before channels."""
    return torch.from_numpy(np.array(jax.random.normal(key, (1, *shape)))).permute(0, 1, 4, 2, 3)


def run_diffusers(folder, monkeypatch, key, sampler: str, latent_frames: int, **options):
    """Latents and video of the pipeline of diffusers, in our layout, not clipped, made with the noise that we draw."""
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[sampler](**SCHEDULER)
    size = (HEIGHT // 4, WIDTH // 4, 4)
    start_key, steps_key = jax.random.split(key)
    image_noise = normal(jax.random.fold_in(key, 2), 1, *size).permute(0, 2, 1, 3, 4)
    steps, kept = [], {}
    step, decode = pipeline.scheduler.step, pipeline.decode_latents

    def counted_step(*args, **kwargs):
        steps.append(None)
        return step(*args, **kwargs)

    def keeping_decode(latents):
        kept["latents"], kept["video"] = latents, decode(latents)
        return kept["video"]

    def step_noise(*args, **kwargs):
        return normal(jax.random.fold_in(steps_key, len(steps) - 1), latent_frames, *size)

    monkeypatch.setattr(pipeline.scheduler, "step", counted_step)
    monkeypatch.setattr(pipeline, "decode_latents", keeping_decode)
    monkeypatch.setattr(posterior, "randn_tensor", lambda *_, **__: image_noise)
    monkeypatch.setattr(scheduling_dpm_cogvideox, "randn_tensor", step_noise)
    pipeline(
        image=Image.fromarray(IMAGE),
        prompt=PROMPT,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        latents=normal(start_key, latent_frames, *size),
        max_sequence_length=TOKENS,
        output_type="pt",
        **options,
    )
    return kept["latents"][0].permute(0, 2, 3, 1).numpy(), to_ours(kept["video"])[0].numpy()


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
    ("variant", "sampler", "dynamic"),
    [
        ("5b_i2v", "ddim", ""),
        ("5b_i2v", "dpm", "released"),
        ("1_5_5b_i2v", "ddim", "released"),
        ("1_5_5b_i2v", "dpm", ""),
    ],
)
def test_the_video_is_that_of_diffusers(folders, load, monkeypatch, variant, sampler, dynamic):
    theirs, ours = folders[variant]
    # The temporal patch of 1.5 is 2: one of its 4 latent frames is cut off.
    latent_frames = {"5b_i2v": 3, "1_5_5b_i2v": 4}[variant]
    options = {"guidance_scale": 6.0, "use_dynamic_cfg": dynamic == "released"}
    expected = run_diffusers(theirs, monkeypatch, clip_key(SEED, PROMPT), sampler, latent_frames, **options)

    pipeline = load(ours, our_config(sampler=sampler, dynamic_guidance=dynamic)).pipeline
    latents, video = pipeline.latents(IMAGE, PROMPT, clip_key(SEED, PROMPT)), pipeline(IMAGE, PROMPT, seed=SEED)
    assert video.shape == (FRAMES, HEIGHT, WIDTH, 3)
    for got, wanted in zip((latents, video), expected, strict=True):
        assert np.isfinite(wanted).all()
        assert relative_error(got, wanted) < 1e-4


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
    image_latents, text = jnp.zeros((1, 1, 6, 10, 4)), jnp.asarray(pipeline.text([PROMPT]))
    assert pipeline.sample(clip_key(SEED, PROMPT)[None], image_latents, text).shape == (1, 5, 6, 10, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_fit": "squeeze"}, "config.image_fit is 'squeeze': choose one of crop, stretch"),
        ({"clip": {"height": 30}}, "a side of 30 pixels does not fit the codec: use multiples of 4"),
        ({"clip": {"num_frames": 8}}, "a clip of 8 frames does not fit the codec"),
    ],
)
def test_options_that_do_not_fit_are_refused(folders, load, changes, words):
    with pytest.raises(UserError, match=re.escape(words)):
        load(folders["5b_i2v"][1], our_config(**changes))


def test_a_transformer_that_takes_no_image_is_refused(folders):
    model = {"in_channels": 4, "out_channels": 4}
    with pytest.raises(UserError, match="turns 4 channels into 4"):
        make_pipeline(our_config(), {}, {"model": model}, PatchCodec(), LetterText(), ClipSize(9, 32, 48, 8.0))


def test_images_are_cropped_or_stretched():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    cropped, stretched = (fit_image(wide, 10, 10, how) for how in ("crop", "stretch"))
    assert cropped.min() == 200 and stretched.min() == 0
    assert cropped.shape == stretched.shape == (10, 10, 3)


def test_released_weights_take_datasets_of_their_own_codec_and_text_only(folders, load, tmp_path):
    generator = load(folders["5b_i2v"][1], our_config())
    with pytest.raises(UserError, match=r"config\.codec has the name 'cogvideox_vae', but .* was made with 'fake'"):
        generator.require_fitting(write_synthetic_dataset(tmp_path, clips=1))
