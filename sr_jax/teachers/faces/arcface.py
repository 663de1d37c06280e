"""ArcFace, the paper's face recogniser, from its published ONNX file."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sr_jax.conversion.iresnet_onnx import read_iresnet
from sr_jax.errors import UserError
from sr_jax.models.arcface import IResNet
from sr_jax.models.functional import Functional, Params
from sr_jax.sections import Section, weights_path
from sr_jax.teachers.base import FaceTeacher, file_hash
from sr_jax.teachers.faces.landmarks import ARCFACE_SIZE, AlignedFaceRecogniser
from sr_jax.teachers.registry import load_detector


def load(section: Section) -> FaceTeacher:
    """Loads `{"name": "arcface", "path": FILE, "detector": "centerface", "detector_path": ""}`.

    Raises:
        UserError: For weights that cannot be read, or an unknown detector.
    """
    return FaceTeacher(load_detector(section), load_arcface(weights_path(section)))


def load_arcface(path: Path) -> AlignedFaceRecogniser:
    """Loads an iResNet of any depth, to run in JAX.

    onnxruntime, which runs recognisers of other architectures (`onnx`), knows no TPU: the host would have to do 24
    GFLOPs a face. On a CPU both take the same time (benchmarks/results/face_recognisers.json: 1.01 of onnxruntime's).

    Args:
        path: `arcface.onnx` (of Arc2Face, which the paper uses), `glintr100.onnx` (of insightface's antelopev2) or
            another file of this architecture.

    Returns:
        A recogniser that is called `arcface_r` and its number of layers, for example `arcface_r100`.

    Raises:
        UserError: If the file cannot be read, naming the part that does not fit.
    """
    config, params = read_iresnet(path)
    if config.image_size != ARCFACE_SIZE:
        raise UserError(f"{path} is for images of {config.image_size} pixels, aligned faces have {ARCFACE_SIZE}")
    network = Functional(lambda rngs: IResNet(config, rngs=rngs))
    on_device = jax.device_put(params)

    @jax.jit
    def embed(params: Params, chips: UInt8[Array, "n s s 3"]) -> Float[Array, "n e"]:
        return network.apply(params, (chips.astype(jnp.float32) - 127.5) / 127.5)

    # Two convolutions a block, the stem and the last layer: how the published networks are counted.
    num_layers = 2 * sum(config.blocks) + 2
    return AlignedFaceRecogniser(
        lambda chips: np.asarray(embed(on_device, chips)),
        name=f"arcface_r{num_layers}",
        weight_hash=file_hash(path),
        embedding_dim=config.embedding_dim,
    )
