"""Evaluation: the judges, which must be other networks than those that supervised.

  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Sizes: `people` for the demo's rendered people; `real` for real clips, where no path of the face judge is needed.
"""

import ml_collections

from sr_jax.configs.sections import LINEAR_CODEC, SMALL_FACES, codec_section, faces_section

_FACES = {
    # A detector and a recogniser fitted with another seed than the teacher.
    "people": faces_section(SMALL_FACES),
    # The teacher's detector and another published recogniser.
    "real": faces_section("centerface_mobilefacenet"),
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.evaluate` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _FACES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_FACES))}")
    config = ml_collections.ConfigDict()
    # Files of `sr_jax.evaluation.metrics`, or your own classes as "package.module:Class", in the order of the table.
    config.metrics = (
        "structure_error",
        "id_score",
        "motion_score",
        "psnr",
        "ssim",
        "face_found",
        "motion_magnitude",
    )
    config.codec = codec_section(LINEAR_CODEC)
    # The judge of faces: never the recogniser that supervised.
    config.faces = _FACES[size]
    # The judge of structure: the workdir of a stage one run with another seed.
    config.structure = ""
    config.batch_size = 16
    return config
