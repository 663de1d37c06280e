"""Evaluation: the judges, which must be other networks than those that supervised.

  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Sizes: `people` for rendered people; `small` for those of the pretrained models; `real` for real clips, where no path of
the face judge is needed.
"""

import ml_collections

from sr_jax.configs.sections import CODEC, FACES, SMALL_CODEC, SMALL_FACES
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
# A detector and a recogniser fitted with another seed than the teacher.
_PEOPLE = {"faces": {"name": SMALL_FACES}}
_SIZES = {
    "people": _PEOPLE,
    "small": _PEOPLE | {"codec": {"name": SMALL_CODEC}},
    # The teacher's detector and another published recogniser.
    "real": {"faces": {"name": "centerface_mobilefacenet"}},
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.evaluate` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_SIZES))}")
    return make_config(KEYS, _SIZES[size])
