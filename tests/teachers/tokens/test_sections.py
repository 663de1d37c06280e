"""How a config names token teachers, and how they take part in a preparation."""

import importlib
import shutil

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from sr_jax.command_line import parse
from sr_jax.configs import sections
from sr_jax.configs.prepare import KEYS, get_config
from sr_jax.data import builder
from sr_jax.data.pipeline import train_batches
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.registry import names
from sr_jax.teachers.registry import load_feature_teacher
from sr_jax.teachers.tokens.fields import ImageTokens
from sr_jax.teachers.tokens.mobilenet_v2 import MOST_CHANNELS
from tests.preparation import fakes
from tests.teachers.tokens.test_fields import Colours

NAMES = names("sr_jax.teachers.tokens", "load")


class Asked(dict):
    """A section that knows what it was asked for, and with which defaults."""

    def __init__(self, entries):
        super().__init__(entries)
        self.defaults = {}

    def get(self, key, default=None):
        self.defaults[key] = default
        return default


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    for module, attribute in (("dinov2", "DINOv2Encoder"), ("mobilenet_v2", "MobileNetV2Encoder")):
        encoder = type("Encoder", (Colours,), {"__init__": lambda self, *_, **__: None})
        encoder.load = classmethod(lambda cls, *_, **__: cls())
        monkeypatch.setattr(importlib.import_module(f"sr_jax.teachers.tokens.{module}"), attribute, encoder)
    monkeypatch.setattr("sr_jax.teachers.tokens.mobilenet_v2.fetch", lambda *files, cache: [cache])


def test_every_file_has_a_name_and_reads_what_is_declared(nothing_is_loaded):
    assert NAMES == ["dinov2", "mobilenet_v2", "precomputed"]
    read = {"path": "", "shape": sections.FEATURES.keys["shape"].default}
    for name in NAMES:
        section = Asked({"name": name, "slot": "mine", "path": "weights", "shape": (2, 2, 3)})
        importlib.import_module(f"sr_jax.teachers.tokens.{name}").load(section)
        for key, default in section.defaults.items():
            assert read.setdefault(key, default or "") == (default or ""), key
    declared = {name: key.default for name, key in sections.FEATURES.keys.items()}
    assert {key: declared[key] or "" for key in read} == read and read.keys() == declared.keys()
    assert sections.FEATURES.keys["channels"].maximum == MOST_CHANNELS


def test_the_command_line_names_any(monkeypatch):
    features = {
        "dino": {"name": "dinov2", "path": "facebook/dinov2-base", "frames": "mean"},
        "video": {"name": "precomputed", "shape": (10, 15, 768), "entry_frames": 2},
        "mine": {"name": "package.module:load", "speed": 1},
    }
    argv = ["prepare", "--config=configs/prepare.py:people", f"--config.features={features!r}"]
    # Where the flags of a config are looked for.
    monkeypatch.setattr("sys.argv", argv)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    parse(values, argv, keys_of=lambda config: KEYS)
    assert values["config"].value.features.to_dict() == features


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"dino": {"name": "dinov2", "inputsize": 518}}, r"no config key 'features\.dino\.inputsize': did you mean '"),
        ({"dino": {"name": "dinov2", "input_size": 0}}, r"config\.features\.dino\.input_size is 0: it must be"),
        ({"dino": {"name": "mobilenet_v2", "frames": "first"}}, r"features\.dino\.frames is 'first'"),
        ({"dino": {"path": "weights"}}, r"the config lacks features\.dino\.name"),
        ({"dino": 3}, r"config\.features\.dino is 3: it must be a section"),
    ],
)
def test_a_section_that_cannot_be_is_refused(features, message):
    config = get_config("people")
    config.features = features
    with pytest.raises(UserError, match=message):
        check(KEYS, config)


def test_the_demo_has_a_size_with_tokens():
    config = get_config("people_tokens")
    assert config.features.to_dict() == {"mobilenet_v2": {"name": "mobilenet_v2"}}
    config.features, plain = {}, get_config("people")
    assert config.to_dict() == plain.to_dict()


def _write(folder, number):
    path = folder / f"v{number}.mp4"
    fakes.write_source(path, seed=number)
    tokens = np.random.default_rng(number).standard_normal((5, 2, 3, 4)).astype(np.float32)
    np.savez(path.with_suffix(".video.npz"), tokens=tokens)
    return tokens[[0, 4]].astype(np.float16)


def test_videos_that_come_later_have_tokens_too(tmp_path):
    teachers = fakes.depth() | {
        "video": load_feature_teacher("video", {"name": "precomputed", "shape": (2, 3, 4)}),
        "colours": ImageTokens("colours", Colours()),
    }
    (tmp_path / "videos").mkdir()
    tokens = [_write(tmp_path / "videos", number) for number in range(2)]
    fakes.make(tmp_path / "videos", tmp_path / "data", teachers=teachers)
    shutil.copytree(tmp_path / "data", tmp_path / "before")
    tokens.append(_write(tmp_path / "videos", 2))
    fakes.make(tmp_path / "videos", tmp_path / "data", teachers=teachers)
    batch = next(train_batches(tmp_path / "data", fields=("video_tokens", "colours_tokens"), batch_size=3, seed=0))
    assert batch["colours_tokens"].shape == (3, 2, 2, 2, 3)
    order = np.argsort(batch["video_tokens"][:, 0, 0, 0, 0])
    expected = np.stack(tokens)
    expected = expected[np.argsort(expected[:, 0, 0, 0, 0])]
    np.testing.assert_array_equal(batch["video_tokens"][order], expected)
    entries = builder.read_provenance(tmp_path / "data").teachers
    assert entries["video"] == teachers["video"].provenance("video")["video"]
    # The same videos by another encoder, or with tokens of other frames, are another dataset.
    others = {"name": "colours", "weight_hash": "c1", "settings": {"size": "2"}}
    for changed, message in (
        (ImageTokens("colours", type("Other", (Colours,), others)()), "weight_hash: dataset has 'c0', expected 'c1'"),
        (ImageTokens("colours", Colours(), frames="mean"), "frames: dataset has 'last', expected 'mean'"),
    ):
        with pytest.raises(UserError, match=rf"begun with other input or settings \(teachers\.colours\.{message}"):
            fakes.make(tmp_path / "videos", tmp_path / "before", teachers=teachers | {"colours": changed})
