import ml_collections
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.models.codec_fit import fit_linear_codec
from sr_jax.teachers import registry
from sr_jax.teachers.base import FaceTeacher
from sr_jax.teachers.depth import PrecomputedDepth
from sr_jax.teachers.text import WordLlamaText


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


class Blind:
    """A detector that finds nobody, and a recogniser that knows nobody."""

    name, weight_hash, embedding_dim = "blind", "none", 1

    def __init__(self, path=""):
        self.path = path

    def __call__(self, frames):
        return [[] for _ in frames]

    def embed(self, frames, faces):
        return np.zeros((len(frames), 1), np.float32), np.zeros(len(frames), bool)


def test_the_choice_of_a_face_is_read_and_checked(monkeypatch):
    monkeypatch.setitem(registry.FACES, "some", lambda section: FaceTeacher(Blind(), Blind()))
    assert registry.load_face_teacher({"name": "some"}).choice == "largest"
    assert registry.load_face_teacher({"name": "some", "choice": "first"}).choice == "first"
    with pytest.raises(UserError, match=r"faces\.choice is 'last': choose one of largest, first"):
        registry.load_face_teacher({"name": "some", "choice": "last"})


def test_a_detector_is_chosen_by_name(monkeypatch):
    monkeypatch.setitem(registry.DETECTORS, "mine", Blind)
    assert registry.load_detector({"name": "arcface", "detector": "mine", "detector_path": "a"}).path == "a"
    with pytest.raises(UserError, match=r"no face detector is called 'yours': choose one of centerface, mine, scrfd"):
        registry.load_detector({"name": "arcface", "detector": "yours"})
