"""Evaluation: the judges, which must be other networks than those that supervised.

  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Sizes: `people` for the demo's rendered people; `real` for real clips, where no path of the face judge is needed.

Hardware: two CPU cores.
Time: unknown by itself, a part of the demo's 12 minutes.
Memory: 2.1 GiB as a part of the demo.
Comes out: metrics.json and metrics.npz beside the clips, the depth that the judge reads, and a table on the console.
"""

import ml_collections

from sr_jax.configs.sections import CODEC, FACES, SMALL_FACES
from sr_jax.declared.keys import Key, make_config

KEYS = {
    "metrics": Key(
        ("structure_error", "id_score", "motion_score", "psnr", "ssim", "face_found", "motion_magnitude"),
        "Files of sr_jax/evaluation/metrics, or package.module:Class, in the order of the table.",
        items=Key(""),
    ),
    "codec": CODEC,
    # The judge of faces: never the recogniser that supervised.
    "faces": FACES,
    "structure": Key("", "The judge of structure: the workdir of a stage one with another seed."),
    "batch_size": Key(16, "Clips that are judged at a time.", minimum=1),
}
_FACES = {
    # A detector and a recogniser fitted with another seed than the teacher.
    "people": SMALL_FACES,
    # The teacher's detector and another published recogniser.
    "real": "centerface_mobilefacenet",
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.evaluate` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _FACES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_FACES))}")
    return make_config(KEYS, {"faces": {"name": _FACES[size]}})
