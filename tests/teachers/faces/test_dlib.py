import jax
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sr_jax.errors import UserError
from sr_jax.models.dlib_resnet import BLOCKS, DlibResNet
from sr_jax.models.functional import Functional
from sr_jax.teachers.base import Face, FaceRecogniser
from sr_jax.teachers.faces.dlib import TEMPLATE, DlibFaceRecogniser
from sr_jax.teachers.faces.dlib_weights import read_dlib_resnet, tensors

NETWORK = Functional(lambda rngs: DlibResNet(rngs=rngs))


class TorchConv(nn.Module):
    """dlib's convolution followed by its affine layer, kept apart."""

    def __init__(self, width_in, width, size, stride, generator):
        super().__init__()
        scale = (2 / (width_in * size * size)) ** 0.5
        self.filters = scale * torch.randn(width, width_in, size, size, generator=generator)
        self.bias, self.shift = 0.1 * torch.randn(2, width, generator=generator)
        self.scale = 0.5 + torch.rand(width, generator=generator)
        self.stride, self.padding = stride, size // 2 if stride == 1 else 0

    def forward(self, x):
        x = functional.conv2d(x, self.filters, self.bias, stride=self.stride, padding=self.padding)
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class TorchNetwork(nn.Module):
    """dlib's `anet_type`, written from its C++ template."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.convs = [TorchConv(3, 32, 7, 2, generator)]
        width_in = 32
        for width, stride in BLOCKS:
            self.convs += [
                TorchConv(width_in, width, 3, stride, generator),
                TorchConv(width, width, 3, 1, generator),
            ]
            width_in = width
        self.head = torch.randn(256, 128, generator=generator) / 16

    def forward(self, chips):
        x = (chips - torch.tensor([122.782, 117.001, 104.298])) / 256
        x = functional.max_pool2d(torch.relu(self.convs[0](x.permute(0, 3, 1, 2))), 3, 2)
        for first, second in zip(self.convs[1::2], self.convs[2::2]):
            residual = second(torch.relu(first(x)))
            shortcut = x if first.stride == 1 else functional.avg_pool2d(x, 2, 2)
            channels, height, width = (max(a, b) for a, b in zip(residual.shape[1:], shortcut.shape[1:]))
            total = torch.zeros(len(x), channels, height, width)
            for part in (residual, shortcut):
                total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
            x = torch.relu(total)
        return x.mean((2, 3)) @ self.head

    def to_bytes(self):
        """The network in dlib's file format, with some of the fields that a reader must skip."""
        data = b"\x01\x01\x01\x0dloss_metric_2\x03\x0a\xd7\xa3\x81\x1c"
        for conv in self.convs:
            values = torch.cat([conv.filters.flatten(), conv.bias]).numpy()
            data += b"\x01\x05con_4" + self._tensor(values, [len(values), 1, 1, 1]) + b"\x01\x20"
            affine = torch.cat([conv.scale, conv.shift]).numpy()
            data += b"\x01\x07affine_" + self._tensor(affine, [1, len(affine), 1, 1]) + b"\x01\x05relu_"
        return data + b"\x01\x04fc_2" + integer(128) + integer(256) + self._tensor(self.head.numpy(), [256, 128, 1, 1])

    @staticmethod
    def _tensor(values, shape):
        return integer(2) + b"".join(map(integer, shape)) + values.astype("<f4").tobytes()


def integer(value):
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


@pytest.fixture(scope="module")
def reference():
    return TorchNetwork(seed=0)


@pytest.fixture(scope="module")
def data(reference):
    return reference.to_bytes()


@pytest.fixture(scope="module")
def params(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("dlib") / "network.dat"
    path.write_bytes(data)
    return read_dlib_resnet(path)


def test_the_network_read_from_dlibs_format_matches_torch(reference, params):
    chips = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = reference(torch.from_numpy(chips).float()).numpy()
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
