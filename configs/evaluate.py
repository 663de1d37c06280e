"""Evaluation: what is measured, and the judges, which must be other networks than those that supervised.

  python -m sr_jax.evaluate --generated CLIPS --reference REAL_CLIPS
  python -m sr_jax.evaluate --config configs/evaluate.py:people --generated SAMPLES --reference DATA/clips/test \
      --config.codec.path=TEACHERS/codec.npz --config.faces.path=JUDGE/faces --config.structure=W_JUDGE

Sizes: `clips` for any video files, with what needs no weights; `paper` with all that papers report. What
`sample --data` wrote is scored with `people`, rendered people, `small`, those of the pretrained models, `smoke`, those
of seconds, or `real`, real clips, where no path of the face judge is needed.

Hardware: two CPU cores.
Time: unknown by itself, a part of the demo's 12 minutes.
Memory: 2.1 GiB as a part of the demo.
Comes out: metrics.json and metrics.npz beside the clips, the depth that the judge reads, and a table on the console.
"""

import ml_collections

from sr_jax.configs.sections import BODY_PARTS, CODEC, DEPTH, FACES, SMALL_CODEC, SMALL_FACES
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
    # What reads depth in video files.
    "depth": DEPTH,
    "structure": Key("", "The judge of structure: the workdir of a stage one with another seed."),
    # For the metrics whose names begin with "part", which are of people: `python -m sr_jax.demo.body_parts` fits it.
    "body_parts": BODY_PARTS,
    "batch_size": Key(16, "Clips that are judged at a time.", minimum=1),
    # Of video files, which no dataset says to be alike.
    "align": Key(
        "time",
        "How frames of two clips are put side by side: by their time, or their number.",
        choices=("time", "frames"),
    ),
    "inception_path": Key("", "Of FID and KID: pytorch-fid's pt_inception-2015-12-05-6726825d.pth."),
    "alexnet_path": Key("", "Of LPIPS: torchvision's alexnet-owt-7be5be79.pth."),
    "clip_path": Key("", "Of the CLIP text score: a folder of transformers, or a name on the hub."),
    "fvd_frames": Key(16, "Consecutive frames of each clip that FVD looks at.", minimum=9),
    "frames_fps": Key(8.0, "Frames a second of folders of frames.", above=0),
}
_PUBLISHED_FACES = {"faces": {"name": "centerface_mobilefacenet"}}
_WEIGHTLESS = ("psnr", "ssim", "motion_score", "motion_magnitude")
# A detector and a recogniser fitted with another seed than the teacher.
_PEOPLE = {"faces": {"name": SMALL_FACES}}
_SIZES = {
    "clips": {"metrics": _WEIGHTLESS, **_PUBLISHED_FACES},
    # All that the papers of this field report, as far as the weights are there.
    "paper": {
        "metrics": (
            *("psnr", "ssim", "lpips", "fid", "kid", "fvd", "motion_score", "motion_magnitude", "temporal_flicker"),
            *("clip_text", "id_score", "id_worst", "id_drift", "face_share", "cpbd"),
        ),
        **_PUBLISHED_FACES,
    },
    "people": _PEOPLE,
    # Those of the pretrained models, whose codec is learned.
    "small": _PEOPLE | {"codec": {"name": SMALL_CODEC}},
    # Whether everything works, in seconds.
    "smoke": _PEOPLE | {"batch_size": 4},
    # The teacher's detector and another published recogniser.
    "real": _PUBLISHED_FACES,
}


def get_config(size: str = "clips") -> ml_collections.ConfigDict:
    """The config of `sr_jax.evaluate` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_SIZES))}")
    return make_config(KEYS, {"depth": {"name": "video_depth_anything"}} | _SIZES[size])
