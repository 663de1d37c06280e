import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sr_jax.errors import UserError
from sr_jax.teachers import registry
from sr_jax.teachers.base import FaceDetector
from sr_jax.teachers.faces.scrfd import ScrfdDetector, decode

# Two anchors a cell; the first one's box reaches half a stride to the left and top and one and a half to the others.
BOX = [0.5, 0.5, 1.5, 1.5]
POINTS = [0.0, 0.25, 1.0, 0.25, 0.5, 0.5, 0.25, 0.75, 0.75, 0.75]


def bright_spots(path, size=64, num_outputs=9):
    """A network of SCRFD's outputs whose score is the mean brightness of a cell, for strides of 8; never elsewhere."""
    nodes, constants, outputs = [], [], []

    def constant(name, values):
        constants.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    cells = [(size // stride) ** 2 for stride in (8, 16, 32)]
    nodes.append(helper.make_node("ReduceMean", ["image", constant("axes", np.array([1]))], ["grey"]))
    nodes.append(helper.make_node("AveragePool", ["grey"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]))
    nodes.append(helper.make_node("Reshape", ["pooled", constant("flat", np.array([-1, 1]))], ["column"]))
    # The other anchor of each cell is never sure.
    nodes.append(helper.make_node("Mul", ["column", constant("less", np.float32(0.1))], ["weak"]))
    nodes.append(helper.make_node("Concat", ["column", "weak"], ["both"], axis=1))
    nodes.append(helper.make_node("Reshape", ["both", "flat"], ["scores_8"]))
    widths = {"scores": 1, "boxes": 4, "points": 10}
    for kind, width in widths.items():
        for stride, count in zip((8, 16, 32), cells):
            name = f"{kind}_{stride}"
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2 * count, width]))
            if name != "scores_8":
                row = {"scores": [0.0], "boxes": BOX, "points": POINTS}[kind]
                values = np.tile(np.array(row, np.float32), (2 * count, 1))
                nodes.append(helper.make_node("Identity", [constant(f"{name}_values", values)], [name]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    graph = helper.make_graph(nodes, "spots", [image], outputs[:num_outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(("height", "width", "scale"), [(64, 64, 1), (64, 32, 1), (96, 192, 3)])
def test_a_bright_cell_is_a_face_in_the_frames_pixels(tmp_path, height, width, scale):
    detector = ScrfdDetector(bright_spots(tmp_path / "spots.onnx"))
    assert isinstance(detector, FaceDetector)
    frames = np.zeros((2, height, width, 3), np.uint8)
    # Column 2 and row 1 of the cells of the network's input.
    frames[1, 8 * scale : 16 * scale, 16 * scale : 24 * scale] = 255
    nobody, found = detector(frames)
    assert nobody == []
    [face] = found
    # White is 127.5 / 128 after normalisation.
    assert face.score == pytest.approx(127.5 / 128, abs=1e-4)
    corner = np.array([16, 8])
    np.testing.assert_allclose(face.box, scale * np.array([*(corner - 4), *(corner + 12)]), atol=1e-3)
    np.testing.assert_allclose(face.landmarks, scale * (corner + 8 * np.reshape(POINTS, (5, 2))), atol=1e-3)


def test_anchors_come_cell_by_cell_and_row_by_row():
    scores = np.zeros((2 * 16, 1), np.float32)
    # The second anchor of row 3, column 1.
    scores[2 * (3 * 4 + 1) + 1] = 0.7
    boxes = np.random.default_rng(0).random((32, 4)).astype(np.float32)
    points = np.random.default_rng(1).random((32, 10)).astype(np.float32)
    got_boxes, got_scores, got_points = decode(scores, boxes, points, 8, 32, threshold=0.5)
    left, top, right, bottom = 8 * boxes[27]
    np.testing.assert_allclose(got_boxes, [[8 - left, 24 - top, 8 + right, 24 + bottom]], rtol=1e-5)
    np.testing.assert_allclose(got_scores, [0.7])
    np.testing.assert_allclose(got_points[0], [8, 24] + 8 * points[27].reshape(5, 2), rtol=1e-5)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no ONNX file"):
        ScrfdDetector(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match="gives 6 results, expected 9 or 15"):
        ScrfdDetector(bright_spots(tmp_path / "boxes.onnx", num_outputs=6))
    with pytest.raises(UserError, match=r"scrfd needs its weights: set faces\.detector_path"):
        registry.load_detector({"name": "arcface", "detector": "scrfd"})
    path = bright_spots(tmp_path / "spots.onnx")
    section = {"name": "arcface", "detector": "scrfd", "detector_path": str(path)}
    assert registry.load_detector(section).name == "scrfd"
