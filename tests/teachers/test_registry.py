import ml_collections
import numpy as np
import pytest

from sr_jax.configs import evaluate, prepare, sample, teachers
from sr_jax.errors import UserError
from sr_jax.models.codec_fit import fit_linear_codec
from sr_jax.teachers import registry
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.depth import PrecomputedDepth
from sr_jax.teachers.text import WordLlamaText
from tests.preparation.fakes import BrightFaces, BrightnessDepth, ColourRecogniser, LetterText, MeanCodec


@pytest.mark.parametrize(
    "load", [registry.load_codec, registry.load_face_teacher, registry.load_depth_teacher, registry.load_text_teacher]
)
def test_an_unknown_name_lists_the_known_ones(load):
    with pytest.raises(UserError, match=r"'nonsense': \w+\.name must be one of \w+"):
        load({"name": "nonsense"})


def test_sections_of_a_config_are_read(tmp_path):
    clips = np.random.default_rng(0).integers(0, 255, (2, 5, 8, 8, 3)).astype(np.uint8)
    sizes = {"latent_channels": 3, "temporal_compression_ratio": 4, "spatial_compression_ratio": 4}
    fit_linear_codec([(1.0, clips)], **sizes).save(tmp_path / "codec.npz")
    config = ml_collections.ConfigDict(
        {
            "codec": {"name": "linear", "path": str(tmp_path / "codec.npz")},
            "depth": {"name": "precomputed"},
            "text": {"name": "wordllama", "num_tokens": 5},
        }
    )
    assert registry.load_codec(config.codec).latent_channels == 3
    assert isinstance(registry.load_depth_teacher(config.depth), PrecomputedDepth)
    text = registry.load_text_teacher(config.text)
    assert isinstance(text, WordLlamaText)
    assert text(["a walk"]).shape == (1, 5, 256)


def test_missing_weights_are_told(tmp_path):
    with pytest.raises(UserError, match="linear needs its weights"):
        registry.load_codec({"name": "linear", "path": ""})
    with pytest.raises(UserError, match=r"no network at .*detector"):
        registry.load_face_teacher({"name": "small", "path": str(tmp_path)})


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


def test_the_choice_of_a_face_is_read_and_checked(monkeypatch):
    monkeypatch.setitem(registry.FACES, "some", lambda section: FaceTeacher(BrightFaces(), ColourRecogniser()))
    assert registry.load_face_teacher({"name": "some"}).choice == "largest"
    assert registry.load_face_teacher({"name": "some", "choice": "first"}).choice == "first"
    with pytest.raises(UserError, match=r"faces\.choice is 'last': choose one of largest, first"):
        registry.load_face_teacher({"name": "some", "choice": "last"})


def test_a_detector_is_chosen_by_name(monkeypatch):
    mine = Loader(BrightFaces())
    monkeypatch.setitem(registry.DETECTORS, "mine", mine)
    assert registry.load_detector({"name": "arcface", "detector": "mine", "detector_path": "a"}) is mine.loaded
    assert mine.calls == [("call", "a")]
    with pytest.raises(UserError, match=r"no face detector is called 'yours': choose one of centerface, mine, scrfd"):
        registry.load_detector({"name": "arcface", "detector": "yours"})


def test_the_detector_of_a_package_may_be_a_file(tmp_path, monkeypatch):
    loader = Loader(BrightFaces())
    monkeypatch.setattr(registry, "CenterFaceDetector", loader)
    (tmp_path / "a.onnx").write_bytes(b"no network")
    registry.load_detector({"detector_path": str(tmp_path / "a.onnx")})
    registry.load_detector({"detector_path": str(tmp_path)})
    assert loader.calls == [("call", tmp_path / "a.onnx"), ("from_package", tmp_path)]
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


REGISTRIES = {
    "codec": (registry.CODECS, registry.load_codec),
    "faces": (registry.FACES, registry.load_face_teacher),
    "depth": (registry.DEPTHS, registry.load_depth_teacher),
    "text": (registry.TEXTS, registry.load_text_teacher),
}
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
    for name, loaded in LOADED.items():
        monkeypatch.setattr(registry, name, Loader(loaded))


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
    entries, load = REGISTRIES[kind]
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
        ("depth", {"name": "silhouette_stand_in"}, "silhouette_stand_in reads 'path'"),
        ("faces", {"name": "arcface"}, "arcface reads 'path'"),
        ("codec", {"name": "linear"}, "linear reads 'path'"),
        ("text", {"name": "wordllama"}, "wordllama reads 'num_tokens'"),
        ("text", {"name": "t5", "path": "a", "num_tokens": 5, "dtype": "float32"}, "t5 reads 'batch_size'"),
        ("text", {}, "the text section of the config lacks 'name'"),
    ],
)
def test_a_missing_key_is_named(kind, section, words):
    for given in (section, ml_collections.ConfigDict(section)):
        with pytest.raises(UserError, match=words):
            REGISTRIES[kind][1](given)
