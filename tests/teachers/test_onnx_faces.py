import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sr_jax.errors import UserError
from sr_jax.teachers import registry
from sr_jax.teachers.base import Face, FaceRecogniser
from sr_jax.teachers.faces import centerface
from sr_jax.teachers.faces.landmarks import ARCFACE_TEMPLATE, align, arcface_template
from sr_jax.teachers.faces.onnx import load_onnx_recogniser
from tests.conversion.iresnet_files import write_iresnet


@pytest.fixture(scope="module")
def arcface(original, tmp_path_factory):
    """An iResNet of published image size and tiny width."""
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    options = {"folded": True, "dynamic": False, "image_size": 112}
    return write_iresnet(original, path, (1, 2, 1, 1), (4, 6, 6, 8), **options)


def frames(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 160, 200, 3), dtype=np.uint8)


class Blind:
    """A detector that finds nobody."""

    name, weight_hash = "blind", "none"

    def __call__(self, frames):
        return [[] for _ in frames]


def tilted_face():
    rotation = 1.2 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    return Face(np.zeros(4, np.float32), 1.0, (ARCFACE_TEMPLATE @ rotation.T + [30, 10]).astype(np.float32))


def expected_embedding(path, frame, face):
    chip = align(frame, face).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [raw] = session.run(None, {"data": (chip / 127.5 - 1).transpose(2, 0, 1)[None]})
    return raw[0] / np.linalg.norm(raw[0])


# The same file, by its own network in JAX and by onnxruntime, where its batch is fixed at 1.
@pytest.mark.parametrize(("name", "teacher_name"), [("arcface", "arcface_r12"), ("onnx", "onnx_small_rgb_127.5_127.5")])
def test_a_recogniser_embeds_the_aligned_face(arcface, monkeypatch, name, teacher_name):
    monkeypatch.setattr(centerface, "open_detector", lambda path: Blind())
    recogniser = registry.load_face_teacher({"name": name, "path": str(arcface)}).recogniser
    assert isinstance(recogniser, FaceRecogniser)
    assert recogniser.name == teacher_name and recogniser.embedding_dim == 8
    clip, face = frames(), tilted_face()
    embeddings, found = recogniser.embed(clip, [face, None, face])
    np.testing.assert_array_equal(found, [True, False, True])
    assert not embeddings[1].any()
    for row in (0, 2):
        np.testing.assert_allclose(embeddings[row], expected_embedding(arcface, clip[row], face), atol=1e-4)


def mean_network(path, shape, axes, outputs=1, dtype=TensorProto.FLOAT):
    """An ONNX file that gives the mean colour of each image."""
    image = helper.make_tensor_value_info("image", dtype, shape)
    results = [helper.make_tensor_value_info(f"mean_{n}", dtype, [shape[0], 3]) for n in range(outputs)]
    nodes = [helper.make_node("ReduceMean", ["image", "axes"], [result.name], keepdims=0) for result in results]
    constant = helper.make_tensor("axes", TensorProto.INT64, [2], axes)
    graph = helper.make_graph(nodes, "mean", [image], results, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("shape", "axes"), [(["n", 3, 128, 128], [2, 3]), (["n", 56, 56, 3], [1, 2]), ([2, 3, 112, 112], [2, 3])]
)
@pytest.mark.parametrize("colour_order", ["rgb", "bgr"])
def test_any_layout_size_and_normalisation(tmp_path, shape, axes, colour_order):
    path = mean_network(tmp_path / "mean.onnx", shape, axes)
    size = shape[2]
    recogniser = load_onnx_recogniser(path, mean=10.0, deviation=50.0, colour_order=colour_order)
    assert recogniser.name == f"onnx_mean_{colour_order}_10_50"
    clip, face = frames(5), tilted_face()
    embeddings, _ = recogniser.embed(clip, [face] * 5)
    for frame, embedding in zip(clip, embeddings):
        colour = (align(frame, face, arcface_template(size), size).astype(float).mean(axis=(0, 1)) - 10) / 50
        colour = colour[::-1] if colour_order == "bgr" else colour
        np.testing.assert_allclose(embedding, colour / np.linalg.norm(colour), atol=1e-5)


def test_the_template_of_other_sizes():
    np.testing.assert_allclose(arcface_template(224), 2 * ARCFACE_TEMPLATE, atol=1e-4)
    np.testing.assert_allclose(arcface_template(256), 2 * ARCFACE_TEMPLATE + [16, 0], atol=1e-4)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="no ONNX file"):
        load_onnx_recogniser(tmp_path / "missing.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="onnxruntime cannot load"):
        load_onnx_recogniser(tmp_path / "damaged.onnx")
    with pytest.raises(UserError, match="expected square RGB images"):
        load_onnx_recogniser(mean_network(tmp_path / "wide.onnx", ["n", 3, 112, 96], [2, 3]))
    with pytest.raises(UserError, match="expected one embedding"):
        load_onnx_recogniser(mean_network(tmp_path / "two.onnx", ["n", 3, 112, 112], [2, 3], outputs=2))
    with pytest.raises(UserError, match=r"faces\.colour_order is 'grey': choose one of rgb, bgr"):
        load_onnx_recogniser(tmp_path / "missing.onnx", colour_order="grey")
