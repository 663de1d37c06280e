import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from sr_jax.conversion.iresnet_onnx import read_iresnet
from sr_jax.errors import UserError
from sr_jax.models.arcface import RELEASED, IResNet
from sr_jax.models.functional import Functional
from sr_jax.parallel import mesh, sharding
from tests.comparison import relative_error
from tests.conversion.iresnet_files import write_iresnet

SMALL = (1, 2, 1, 1)


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [result] = session.run(None, {session.get_inputs()[0].name: images.transpose(0, 3, 1, 2)})
    return result


def run_ours(path, images):
    config, params = read_iresnet(path)
    network = Functional(lambda rngs: IResNet(config, rngs=rngs))
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, network.abstract_params())
    return config, jax.jit(network.apply)(params, images)


def faces(count=2, size=32):
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def operators(path):
    return [node.op_type for node in onnx.load(str(path)).graph.node]


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("depth", ["r50", "r100"])
def test_published_depths_match_onnxruntime(original, tmp_path, depth, folded):
    blocks = RELEASED[depth].blocks
    path = write_iresnet(original, tmp_path / "network.onnx", blocks, folded=folded)
    # One norm stays in each block, and one at the end; in the other export all three, in the shortcuts too.
    norms = sum(blocks) + 1 if folded else 3 * sum(blocks) + 4 + 3
    assert operators(path).count("BatchNormalization") in (norms, norms + 1)
    config, got = run_ours(path, faces())
    assert config.blocks == blocks and config.widths == (8, 8, 16, 16)
    assert (config.embedding_dim, config.image_size) == (8, 32)
    assert relative_error(got, run_onnx(path, faces())) < 1e-4


def test_faces_of_the_published_size_and_a_fixed_batch(original, tmp_path):
    options = {"folded": True, "dynamic": False, "image_size": 112}
    path = write_iresnet(original, tmp_path / "network.onnx", SMALL, (4, 6, 6, 8), **options)
    config, got = run_ours(path, faces(1, 112))
    assert config.image_size == 112 and config.num_features == 8 * 7 * 7
    assert relative_error(got, run_onnx(path, faces(1, 112))) < 1e-4


def test_graphs_that_normalise_pixels_themselves(original, tmp_path):
    path = write_iresnet(original, tmp_path / "network.onnx", SMALL, folded=True, takes_pixels=True)
    assert operators(path)[:2] != ["Conv", "PRelu"]
    _, got = run_ours(path, faces())
    assert relative_error(got, run_onnx(path, faces() * 127.5 + 127.5)) < 1e-4


@pytest.mark.parametrize(("depth", "millions"), [("r50", 43.6), ("r100", 65.2)])
def test_full_sizes_are_as_published(original, depth, millions):
    config = RELEASED[depth]
    num_weights, in_convolutions = original("iresnet").num_weights(config.blocks, config.widths, 512, 112)
    assert num_weights / 1e6 == pytest.approx(millions, abs=0.1)
    network = Functional(lambda rngs: IResNet(config, rngs=rngs))
    abstract = network.abstract_params()
    assert abstract["head"]["kernel"].shape == (512 * 7 * 7, 512)
    kernels = [leaf.size for leaf in jax.tree.leaves(abstract) if len(leaf.shape) > 1 and leaf.size > 10_000]
    assert sum(kernels) >= in_convolutions - 3 * 64 * 9
    shardings = sharding.param_shardings(network.abstract, mesh.make_mesh({"data": 8}), sharding.ShardingRules())
    assert jax.tree.structure(shardings) == jax.tree.structure(abstract)


@pytest.fixture(scope="module")
def small(original, tmp_path_factory):
    return write_iresnet(original, tmp_path_factory.mktemp("onnx") / "small.onnx", SMALL, folded=True)


def change(model, operator, number, **changes):
    """Changes one node: its operator, an attribute, or a constant input by a function of its values."""
    node = [node for node in model.graph.node if node.op_type == operator][number]
    if "op_type" in changes:
        node.op_type = changes["op_type"]
    for attribute in node.attribute:
        if attribute.name in changes:
            attribute.ints[:] = changes[attribute.name]
    if "constant" in changes:
        index, function = changes["constant"]
        [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == node.input[index]]
        values = function(onnx.numpy_helper.to_array(tensor))
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return node.name


@pytest.mark.parametrize(
    ("operator", "number", "changes", "problem"),
    [
        ("PRelu", 2, {"op_type": "LeakyRelu"}, "expected PRelu"),
        ("Conv", 0, {"strides": [2, 2]}, r"strides is \(2, 2\), expected \(1, 1\)"),
        ("Conv", 4, {"pads": [0, 0, 0, 0]}, r"pads is \(0, 0, 0, 0\), expected \(1, 1, 1, 1\)"),
        ("Conv", 1, {"constant": (1, lambda kernel: kernel[:, :5])}, r"kernel is \(8, 5, 3, 3\), expected \(8, 8, 3"),
        ("Conv", 2, {"constant": (2, lambda bias: bias[:3])}, r"bias is \(3,\), expected \(8,\)"),
        ("BatchNormalization", 1, {"constant": (3, lambda mean: mean[:4])}, "expected 8"),
        ("PRelu", 0, {"constant": (1, lambda slope: slope[:1])}, r"slope is \(1, 1, 1\), expected \(8, 1, 1\)"),
        ("Add", 0, {"op_type": "Mul"}, "expected Add"),
        ("Gemm", 0, {"constant": (1, lambda kernel: kernel[:, 1:])}, "63 values, no square image of 16 channels"),
        ("BatchNormalization", 0, {"op_type": "InstanceNormalization"}, "begins with BatchNormalization"),
    ],
)
def test_the_node_that_does_not_fit_is_named(small, tmp_path, operator, number, changes, problem):
    model = onnx.load(str(small))
    name = change(model, operator, number, **changes)
    path = tmp_path / "changed.onnx"
    onnx.save(model, str(path))
    with pytest.raises(UserError, match=f"{name}.* does not fit: .*{problem}"):
        read_iresnet(path)


def test_other_graphs_are_refused(original, small, tmp_path):
    for blocks, message in [((2, 1, 1), "halves the image 3 times"), ((1, 1, 1, 1, 1), "halves the image 5 times")]:
        path = write_iresnet(original, tmp_path / "other.onnx", blocks, (8,) * len(blocks), folded=True)
        with pytest.raises(UserError, match=message):
            read_iresnet(path)
    model = onnx.load(str(small))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48
    onnx.save(model, str(tmp_path / "sized.onnx"))
    with pytest.raises(UserError, match=r"its input is \(3, 48, 32\), but its last layer fits images of \(3, 32, 32\)"):
        read_iresnet(tmp_path / "sized.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as an ONNX model"):
        read_iresnet(tmp_path / "damaged.onnx")
    with pytest.raises(UserError, match="no ONNX file"):
        read_iresnet(tmp_path / "missing.onnx")
