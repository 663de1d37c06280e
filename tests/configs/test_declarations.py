"""The configs' own declarations: they hold for every size, are what the code reads, and load no JAX."""

import subprocess
import sys

import pytest

from sr_jax import registry
from sr_jax.alignment.options import OPTIONS
from sr_jax.alignment.structure import INPUTS, TEXTS
from sr_jax.backbones.base import POSITION_TABLES
from sr_jax.configs import (
    ablate,
    base,
    body_parts,
    evaluate,
    prepare,
    sample,
    sections,
    stage_one,
    stage_two,
    stage_two_all,
    teachers,
    training,
)
from sr_jax.configs.pods import PODS
from sr_jax.configs.sizes import size_names
from sr_jax.declared.checking import check, entries, paths_of
from sr_jax.diffusion.guidance import DYNAMIC_GUIDANCE
from sr_jax.diffusion.v_prediction import SPACINGS
from sr_jax.errors import UserError
from sr_jax.generation.images import FITS
from sr_jax.models import precision
from sr_jax.models.remat import POLICIES
from sr_jax.parallel.mesh import AXES, SLICE_AXES
from sr_jax.teachers.registry import FACE_CHOICES
from sr_jax.teachers.tokens.fields import FRAMES
from sr_jax.training.alignment_modules import MODULES
from sr_jax.training.builders import STAGES

_PODS = [f"{size}@{pod}" for size, pod in PODS]
_SIZES = {
    base: [*size_names(), *_PODS],
    stage_one: [*size_names(), *_PODS],
    stage_two: [*size_names(), *_PODS],
    stage_two_all: [*size_names(), *_PODS],
    prepare: ["people", "people_tokens", "small", "smoke", "real", "cogvideox"],
    sample: ["people", "small", "smoke", "cogvideox"],
    evaluate: ["clips", "paper", "people", "small", "smoke", "real"],
    teachers: ["people", "small", "smoke", "real"],
    body_parts: ["people", "small", "smoke"],
    ablate: ["cpu", "gpu", "smoke"],
}


def _config(module, size):
    """A config and its keys."""
    config = module.get_config(size)
    return training.keys_of(config) if "stage" in config else module.KEYS, config


@pytest.mark.parametrize(
    ("module", "size"), [(m, s) for m, sizes in _SIZES.items() for s in sizes], ids=lambda x: getattr(x, "__name__", x)
)
def test_every_config_is_as_it_is_declared(module, size):
    keys, config = _config(module, size)
    check(keys, config)
    found = [path for path, _, _ in entries(keys, config)]
    assert len(found) == len(set(found)) > 5


@pytest.mark.parametrize("module", _SIZES, ids=lambda module: module.__name__)
def test_every_key_has_one_line_of_meaning(module):
    keys, config = _config(module, _SIZES[module][0])
    for path, key, _ in entries(keys, config):
        assert key.meaning.endswith(".") and "\n" not in key.meaning and len(key.meaning) <= 110, path


def _key(keys, path):
    for name in path.split("."):
        keys = {**keys.always, **keys.keys}[name] if hasattr(keys, "always") else keys[name]
    return keys


@pytest.mark.parametrize(
    ("keys", "path", "choices"),
    [
        (base.BASE_KEYS, "stage", STAGES),
        (base.BASE_KEYS, "init.position_table", POSITION_TABLES),
        (base.BASE_KEYS, "remat", POLICIES),
        (base.BASE_KEYS, "dtype", precision._TYPES),
        (stage_one.STAGE_ONE_KEYS, "structure_text", TEXTS),
        (stage_one.STAGE_ONE_KEYS, "structure_input", INPUTS),
        (sample.KEYS, "position_table", POSITION_TABLES),
        (sample.KEYS, "dynamic_guidance", DYNAMIC_GUIDANCE),
        (sample.KEYS, "image_fit", FITS),
        (sample.KEYS, "timestep_spacing", ("", *SPACINGS)),
        (prepare.KEYS, "faces.choice", FACE_CHOICES),
        ({"features": sections.FEATURES}, "features.frames", FRAMES),
    ],
)
def test_choices_are_those_that_the_code_has(keys, path, choices):
    assert _key(keys, path).choices == tuple(choices)


def test_modules_and_axes_are_those_that_the_code_has():
    assert stage_one.STAGE_ONE_KEYS["train_modules"].items.choices == MODULES
    assert set(base.BASE_KEYS["mesh"]) == {*AXES, *SLICE_AXES}


@pytest.mark.parametrize(
    ("module", "size", "path", "value"),
    [
        (stage_two, "tiny", "optimizer.learning_rate", -1.0),
        (stage_two, "tiny", "image_dropout", 2.0),
        (stage_two, "tiny", "text_dropout", -0.1),
        (stage_two, "tiny", "num_train_steps", -5),
        (stage_two, "tiny", "ema_decay", 1.0),
        (stage_two, "tiny", "accumulate_steps", 0),
        (stage_two, "tiny", "log_every", 0),
        (stage_two, "tiny", "checkpoint_every", 0),
        (stage_two, "tiny", "keep_checkpoints", 0),
        (stage_two, "tiny", "mesh.data", 0),
        (stage_two, "tiny", "lora.rank", -1),
        (stage_two, "tiny", "lora.alpha", float("nan")),
        (stage_two, "tiny", "schedule.snr_shift_scale", 0.0),
        (stage_two, "tiny", "model.num_layers", 0),
        (stage_two, "tiny", "model.patch_size", 0),
        (stage_two, "tiny", "seed", 2**32),
        (stage_two, "tiny", "alignment.structure.weight", -0.01),
        (stage_one, "tiny", "identity.widths", (32, 0)),
        (stage_one, "tiny", "train_modules", ("structure", "face")),
        (prepare, "people", "clip.height", 0),
        (prepare, "people", "clip.fps", float("inf")),
        (prepare, "people", "clip.stride", 0),
        (prepare, "people", "clip.more_sizes", (720, 480)),
        (prepare, "people", "person.looks_per_second", 0.0),
        (prepare, "people", "person.anchor", 1.5),
        (prepare, "people", "noisy_images", -1),
        (prepare, "people", "on_bad_input", "ignore"),
        (prepare, "people", "depth.low_percentile", 101.0),
        (prepare, "people", "text.num_tokens", 0),
        (sample, "people", "num_inference_steps", 0),
        (sample, "people", "clip.width", -16),
        (sample, "people", "guidance_scale", float("nan")),
        (evaluate, "people", "batch_size", 0),
        (teachers, "people", "detector_schedule.steps", -1),
    ],
)
def test_numbers_that_cannot_be_are_refused(module, size, path, value):
    keys, config = _config(module, size)
    config.update_from_flattened_dict({path: value})
    with pytest.raises(UserError, match=rf"^config\.{path} is .*: it must be "):
        check(keys, config)


def test_an_unknown_stage_is_named():
    config = base.get_config("tiny")
    config.stage = "three"
    with pytest.raises(UserError, match=r"config\.stage is 'three': choose one of base, stage_one, stage_two"):
        training.keys_of(config)


def test_somebodys_own_backbone_and_objective_have_keys_of_their_own():
    config = stage_two.get_config("tiny")
    config.backbone = "tests.toys.backbone:Toy"
    with config.unlocked():
        for section in ("model", "structure"):
            del config[section]
            config[section] = {"latent_size": (4, 8, 6), "num_layers": 1}
        config.alignment.toy = {"objective": "tests.toys.objective:build", "weight": 0.5, "rate": "any"}
    check(training.keys_of(config), config)
    config.alignment.toy.weight = -0.5
    with pytest.raises(UserError, match=r"config\.alignment\.toy\.weight is -0\.5"):
        check(training.keys_of(config), config)
    config = prepare.get_config("people")
    with config.unlocked():
        config.features = {"quarters": {"name": "tests.toys.teacher:Quarters", "rate": 3}}
        config.text = {"name": "mine.text:load", "num_tokens": "many"}
    check(prepare.KEYS, config)


def test_stage_two_all_has_every_objective_and_no_weight():
    found = stage_two_all.get_config("5b_i2v").alignment.to_dict()
    assert found.keys() == set(registry.names("sr_jax.alignment", "build"))
    assert not any(section["weight"] for section in found.values())
    assert {name: found[name]["block"] for name in OPTIONS} == {"repa": 8, "trd": 18, "crepa": 8, "layersync": 8}


def test_options_of_an_objective_are_its_own():
    config = stage_two_all.get_config("tiny")
    with config.unlocked():
        config.alignment.late = {"objective": "repa", "weight": 0.5, "block": 4, "projector": "conv"}
    check(training.keys_of(config), config)
    for name, key, value, words in (
        ("late", "projector", "linear", r"^config\.alignment\.late\.projector is 'linear': it must be mlp or conv"),
        ("trd", "margin", -0.1, r"^config\.alignment\.trd\.margin is -0\.1: it must be a number, at least 0"),
        ("crepa", "grid", (4,), r"^config\.alignment\.crepa\.grid is \(4,\): it must be a tuple of 2"),
        ("repa", "margin", 0.1, r"^no config key 'alignment\.repa\.margin'"),
    ):
        wrong = config.copy_and_resolve_references()
        with wrong.unlocked():
            wrong.alignment[name][key] = value
        with pytest.raises(UserError, match=words):
            check(training.keys_of(wrong), wrong)


def test_keys_of_sections_are_declared_once():
    for part in (sections.CODEC, sections.DEPTH, sections.FACES, sections.FEATURES, sections.TEXT):
        assert not part.always.keys() & part.keys.keys() and "name" in part.always
    assert len(paths_of(prepare.KEYS)) == len(set(paths_of(prepare.KEYS)))


def test_neither_configs_nor_commands_load_jax():
    commands = ("train", "plan", "prepare", "sample", "evaluate", "ablate", "diagnose")
    commands += ("demo.fit_teachers.__main__", "demo.body_parts.__main__")
    modules = ["configs.stage_two_all", *(f"sr_jax.{name}" for name in ("configs.teachers", *commands))]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "ml_collections" in loaded
    assert not loaded & {"jax", "flax", "optax", "orbax", "grain", "tensorflow", "numpy", "cv2", "av"}
