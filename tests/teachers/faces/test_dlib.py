import jax
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.models.dlib_resnet import DlibResNet
from sr_jax.models.functional import Functional
from sr_jax.teachers.base import Face, FaceRecogniser
from sr_jax.teachers.faces.dlib import TEMPLATE, DlibFaceRecogniser
from sr_jax.teachers.faces.dlib_weights import read_dlib_resnet, tensors
from tests.teachers.dlib_file import to_bytes, weights

NETWORK = Functional(lambda rngs: DlibResNet(rngs=rngs))


@pytest.fixture(scope="module")
def data():
    return to_bytes(weights(0))


@pytest.fixture(scope="module")
def params(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("dlib") / "network.dat"
    path.write_bytes(data)
    return read_dlib_resnet(path)


def test_the_network_read_from_dlibs_format_matches_torch(original, params):
    chips = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    expected = original("dlib").embeddings(0, chips)
    np.testing.assert_allclose(jax.jit(NETWORK.apply)(params, chips), expected, atol=2e-4 * np.abs(expected).max())


def test_parameters_have_the_networks_structure(params):
    abstract = NETWORK.abstract_params()
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, abstract)


def test_damaged_files_are_refused(data, tmp_path):
    for name, damaged in {"short": data[:-100], "empty": b"", "other": data.replace(b"fc_2", b"fc_3")}.items():
        path = tmp_path / name
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not dlib's face recognition network"):
            read_dlib_resnet(path)


def test_tensors_come_in_the_order_of_the_file(data):
    shapes = [tensor.size for tensor in tensors(data)]
    assert len(shapes) == 2 * 29 + 1
    assert shapes[:2] == [7 * 7 * 3 * 32 + 32, 64]
    assert shapes[-1] == 256 * 128


def test_it_is_a_recogniser_of_faces_in_dlibs_position(params):
    frames = np.random.default_rng(2).integers(0, 256, (2, 150, 150, 3), dtype=np.uint8)
    recogniser = DlibFaceRecogniser(params, weight_hash="random")
    assert isinstance(recogniser, FaceRecogniser)
    # Landmarks at the template's places: the frame is the aligned face.
    embeddings, found = recogniser.embed(frames, [None, Face(np.zeros(4, np.float32), 1.0, TEMPLATE)])
    np.testing.assert_array_equal(found, [False, True])
    expected = np.asarray(jax.jit(NETWORK.apply)(params, frames[1:]))[0]
    np.testing.assert_allclose(embeddings[1], expected / np.linalg.norm(expected), atol=1e-5)
