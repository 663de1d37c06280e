import importlib

import ml_collections
import numpy as np
import pytest

from sr_jax.backbones import load_codec
from sr_jax.configs import evaluate, prepare, sample, teachers
from sr_jax.configs.sections import LINEAR_CODEC, SILHOUETTE_DEPTH, SMALL_FACES, WORDLLAMA_TEXT
from sr_jax.demo.fit_teachers.codec import fit_linear_codec
from sr_jax.demo.wordllama import WordLlamaText
from sr_jax.errors import UserError
from sr_jax.registry import names
from sr_jax.teachers import registry
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.depth.precomputed import PrecomputedDepth
from sr_jax.teachers.faces import centerface
from tests.preparation.fakes import BrightFaces, BrightnessDepth, ColourRecogniser, LetterText, MeanCodec

# How each kind of part is loaded, and the names of all that there are.
KINDS = {
    "codec": (load_codec, [*names("sr_jax.backbones", "load_codec"), LINEAR_CODEC]),
    "faces": (registry.load_face_teacher, [*names("sr_jax.teachers.faces", "load"), SMALL_FACES]),
    "depth": (registry.load_depth_teacher, [*names("sr_jax.teachers.depth", "load"), SILHOUETTE_DEPTH]),
    "text": (registry.load_text_teacher, [*names("sr_jax.teachers.text", "load"), WORDLLAMA_TEXT]),
}


def test_a_file_in_the_right_folder_has_a_name():
    assert {kind: found[:-1] for kind, (_, found) in KINDS.items()} == {
        "codec": ["cogvideox"],
        "faces": ["arcface", "centerface_dlib", "centerface_mobilefacenet", "onnx"],
        "depth": ["precomputed", "video_depth_anything"],
        "text": ["t5"],
    }


@pytest.mark.parametrize("kind", ["faces", "depth", "text"])
def test_an_unknown_name_lists_the_known_ones(kind):
    load, (first, *_) = KINDS[kind]
    with pytest.raises(
        UserError, match=rf"'nonsense': choose one of {first}.* or name one of your own as package\.mod"
    ):
        load({"name": "nonsense"})


def test_sections_of_a_config_are_read(tmp_path):
    clips = np.random.default_rng(0).integers(0, 255, (2, 5, 8, 8, 3)).astype(np.uint8)
    sizes = {"latent_channels": 3, "temporal_compression_ratio": 4, "spatial_compression_ratio": 4}
    fit_linear_codec([(1.0, clips)], **sizes).save(tmp_path / "codec.npz")
    config = ml_collections.ConfigDict(
        {
            "codec": {"name": LINEAR_CODEC, "path": str(tmp_path / "codec.npz")},
            "depth": {"name": "precomputed"},
            "text": {"name": WORDLLAMA_TEXT, "num_tokens": 5},
        }
    )
    assert load_codec(config.codec).latent_channels == 3
    assert isinstance(registry.load_depth_teacher(config.depth), PrecomputedDepth)
    text = registry.load_text_teacher(config.text)
    assert isinstance(text, WordLlamaText)
    assert text(["a walk"]).shape == (1, 5, 256)


def test_missing_weights_are_told(tmp_path):
    with pytest.raises(UserError, match=r"sr_jax\.demo\.linear_codec:load needs its weights"):
        load_codec({"name": LINEAR_CODEC, "path": ""})
    with pytest.raises(UserError, match=r"no network at .*detector"):
        registry.load_face_teacher({"name": SMALL_FACES, "path": str(tmp_path)})


class Blind:
    """A detector that finds nobody, and a recogniser that knows nobody."""

    name, weight_hash, embedding_dim = "blind", "none", 1

    def __init__(self, path=""):
        self.path = path

    def __call__(self, frames):
        return [[] for _ in frames]

    def embed(self, frames, faces):
        return np.zeros((len(frames), 1), np.float32), np.zeros(len(frames), bool)


class Loader:
    """In place of a class or function that loads weights: always gives the same object, and keeps what it was asked.

    `calls` has the way and the arguments of each call, without those given by name.
    """

    def __init__(self, loaded):
        self.loaded = loaded
        self.calls = []

    def __call__(self, *arguments, **options):
        return self._give("call", arguments)

    def load(self, *arguments, **options):
        return self._give("load", arguments)

    def from_package(self, *arguments):
        return self._give("from_package", arguments)

    def _give(self, way, arguments):
        self.calls.append((way, *arguments))
        return self.loaded


def load_blind(section):
    return FaceTeacher(Blind(), Blind())


def test_the_choice_of_a_face_is_read_and_checked():
    section = {"name": f"{__name__}:load_blind"}
    assert registry.load_face_teacher(section).choice == "largest"
    assert registry.load_face_teacher(section | {"choice": "first"}).choice == "first"
    with pytest.raises(UserError, match=r"faces\.choice is 'last': choose one of largest, first"):
        registry.load_face_teacher(section | {"choice": "last"})


def test_a_detector_is_chosen_by_name():
    section = {"name": "arcface", "detector": f"{__name__}:Blind", "detector_path": "a"}
    assert registry.load_detector(section).path == "a"
    with pytest.raises(UserError, match=r"no face detector is called 'yours': choose one of centerface, scrfd, or"):
        registry.load_detector({"name": "arcface", "detector": "yours"})


def test_the_detector_of_a_package_may_be_a_file(tmp_path, monkeypatch):
    detector = Loader(BrightFaces())
    monkeypatch.setattr(centerface, "CenterFaceDetector", detector)
    (tmp_path / "a.onnx").write_bytes(b"no network")
    registry.load_detector({"detector_path": str(tmp_path / "a.onnx")})
    registry.load_detector({"detector_path": str(tmp_path)})
    assert detector.calls == [("call", tmp_path / "a.onnx"), ("from_package", tmp_path)]
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"OpenCV cannot read .*a\.onnx"):
        registry.load_detector({"detector_path": str(tmp_path / "a.onnx")})
    with pytest.raises(UserError, match=r"cannot write to .*a\.onnx"):
        registry.load_face_teacher({"name": "centerface_dlib", "path": str(tmp_path / "a.onnx")})


class Reads(dict):
    """A config section that remembers which keys were read."""

    def __init__(self, section):
        super().__init__(section)
        self.keys_read = set()

    def __getitem__(self, key):
        self.keys_read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.keys_read.add(key)
        return super().get(key, default)

    def __contains__(self, key):
        self.keys_read.add(key)
        return super().__contains__(key)


CONFIGS = {
    "prepare": (prepare, ("people", "real", "cogvideox"), ("codec", "faces", "depth", "text")),
    "teachers": (teachers, ("people", "real"), ("depth",)),
    "evaluate": (evaluate, ("people", "real"), ("codec", "faces")),
    "sample": (sample, ("people", "cogvideox"), ("codec", "text")),
}


LOADED = {
    "CenterFaceDetector": BrightFaces(),
    "DlibFaceRecogniser": ColourRecogniser(),
    "LinearVideoCodec": MeanCodec(),
    "MobileFaceNetRecogniser": ColourRecogniser(),
    "ScrfdDetector": BrightFaces(),
    "SilhouetteStandIn": BrightnessDepth(),
    "T5Text": LetterText(),
    "VideoDepthAnythingTeacher": BrightnessDepth(),
    "WordLlamaText": LetterText(),
    "load_arcface": ColourRecogniser(),
    "load_cogvideox_vae": MeanCodec(),
    "load_onnx_recogniser": ColourRecogniser(),
    "load_small_faces": FaceTeacher(BrightFaces(), ColourRecogniser()),
}


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    """Replaces what loads weights."""
    for module, found in {
        "backbones.cogvideox.codec": ["load_cogvideox_vae"],
        "demo.linear_codec": ["LinearVideoCodec"],
        "demo.silhouette": ["SilhouetteStandIn"],
        "demo.wordllama": ["WordLlamaText"],
        "teachers.depth.video_depth_anything": ["VideoDepthAnythingTeacher"],
        "teachers.faces.arcface": ["load_arcface"],
        "teachers.faces.centerface": ["CenterFaceDetector"],
        "teachers.faces.centerface_dlib": ["CenterFaceDetector", "DlibFaceRecogniser"],
        "teachers.faces.centerface_mobilefacenet": ["CenterFaceDetector", "MobileFaceNetRecogniser"],
        "teachers.faces.onnx": ["load_onnx_recogniser"],
        "teachers.faces.scrfd": ["ScrfdDetector"],
        "teachers.text.t5": ["T5Text"],
    }.items():
        for name in found:
            monkeypatch.setattr(importlib.import_module(f"sr_jax.{module}"), name, Loader(LOADED[name]))
    small = importlib.import_module("sr_jax.demo.small_faces.teacher")
    monkeypatch.setattr(small, "load_small_faces", Loader(LOADED["load_small_faces"]))


@pytest.mark.parametrize(
    ("module", "size", "kind"),
    [
        pytest.param(module, size, kind, id=f"{name}-{size}-{kind}")
        for name, (module, sizes, kinds) in CONFIGS.items()
        for size in sizes
        for kind in kinds
    ],
)
def test_a_section_has_every_key_that_any_entry_reads_and_no_other(nothing_is_loaded, module, size, kind):
    load, entries = KINDS[kind]
    section = module.get_config(size)[kind].to_dict() | {"path": "somewhere"}
    read = set()
    for name in entries:
        reads = Reads(section | {"name": name})
        load(reads)
        read |= reads.keys_read
    if kind == "depth":
        reads = Reads(section)
        registry.depth_colours(reads)
        read |= reads.keys_read
    assert read == set(section)


@pytest.mark.parametrize(
    ("kind", "section", "words"),
    [
        ("depth", {"name": "video_depth_anything", "path": ""}, "video_depth_anything reads 'size'"),
        ("depth", {"name": SILHOUETTE_DEPTH}, "sr_jax.demo.silhouette:load reads 'path'"),
        ("faces", {"name": "arcface"}, "arcface reads 'path'"),
        ("codec", {"name": LINEAR_CODEC}, "sr_jax.demo.linear_codec:load reads 'path'"),
        ("text", {"name": WORDLLAMA_TEXT}, "sr_jax.demo.wordllama:load reads 'num_tokens'"),
        ("text", {"name": "t5", "path": "a", "num_tokens": 5, "dtype": "float32"}, "t5 reads 'batch_size'"),
        ("text", {}, "the text section of the config lacks 'name'"),
    ],
)
def test_a_missing_key_is_named(kind, section, words):
    for given in (section, ml_collections.ConfigDict(section)):
        with pytest.raises(UserError, match=words):
            KINDS[kind][0](given)
