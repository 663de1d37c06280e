"""Evaluation: what is measured, and the judges, which must be other networks than those that supervised.

  python -m sr_jax.evaluate --generated CLIPS --reference REAL_CLIPS
  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Sizes: `clips` for any video files, with what needs no weights; what `sample --data` wrote is scored with `people`, the
demo's rendered people, or `real`, real clips, where no path of the face judge is needed.
"""

import ml_collections

from sr_jax.configs.sections import BODY_PARTS, CODEC, FACES, SMALL_FACES
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
    # For the metrics whose names begin with "part", which are of people: `python -m sr_jax.demo.body_parts` fits it.
    "body_parts": BODY_PARTS,
    "batch_size": Key(16, "Clips that are judged at a time.", minimum=1),
    # Of video files, which no dataset says to be alike.
    "align": Key(
        "time", "How frames of two clips are put side by side: by their time, or their number.", choices=("time", "frames")
    ),
    "frames_fps": Key(8.0, "Frames a second of folders of frames.", above=0),
}
_PUBLISHED_FACES = "centerface_mobilefacenet"
_SIZES = {
    "clips": {
        "metrics": ("psnr", "ssim", "motion_score", "motion_magnitude"),
        "faces": {"name": _PUBLISHED_FACES},
    },
    # A detector and a recogniser fitted with another seed than the teacher.
    "people": {"faces": {"name": SMALL_FACES}},
    # The teacher's detector and another published recogniser.
    "real": {"faces": {"name": _PUBLISHED_FACES}},
}


def get_config(size: str = "clips") -> ml_collections.ConfigDict:
    """The config of `sr_jax.evaluate` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_SIZES))}")
    return make_config(KEYS, _SIZES[size])
