"""Preparing videos.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA

Sizes: `people` for rendered people with exact depth; `real` for real clips with the teachers that packages carry;
`cogvideox` for anybody's videos, to train released CogVideoX models, whose autoencoder and text encoder lie where
`python -m sr_jax.convert import` wrote them (`--config.codec.path` and `--config.text.path`), with the paper's face
teacher from `--config.faces.path` (`arcface.onnx` or `glintr100.onnx`).
"""

from typing import Any

import ml_collections

from sr_jax.configs.sections import (
    LINEAR_CODEC,
    SILHOUETTE_DEPTH,
    SMALL_FACES,
    WORDLLAMA_TEXT,
    codec_section,
    depth_section,
    faces_section,
    text_section,
)

# `stride`: frames from one clip's start to the next one's, at `fps`. `more_sizes`: a clip gets the size whose aspect
# ratio is nearest to its video's; with more than one, the output holds a dataset for each.
# `threshold` of shots: 0 is the detector's default, 3 for `adaptive` and 27 for `content`.
_CENTRE = {
    "shots": {"name": "none", "threshold": 0.0, "least_seconds": 0.5},
    # Videos that are clips already, one person in the middle of each. People can be found by "face", or by something
    # that is named as "sr_jax.demo.silhouette:load_finder".
    "person": {"name": "none", "zoom": 0.0, "anchor": 0.5, "looks_per_second": 2.0, "path": ""},
    "drop": {"no_person": False, "several_people": False, "least_motion": 0.0},
    # Made for this, so a bad one is a mistake to be told of at once.
    "on_bad_input": "stop",
}
_SIZES: dict[str, dict[str, Any]] = {
    "people": _CENTRE
    | {
        "clip": {"num_frames": 13, "fps": 24.0, "height": 64, "width": 48, "stride": 13, "more_sizes": ()},
        "depth": depth_section("precomputed"),
        "faces": faces_section(SMALL_FACES),
        "codec": codec_section(LINEAR_CODEC),
        "text": text_section(WORDLLAMA_TEXT, num_tokens=24),
        "batch_size": 16,
    },
    # The clips of `python -m sr_jax.demo.real_clips`.
    "real": _CENTRE
    | {
        "clip": {"num_frames": 13, "fps": 12.0, "height": 64, "width": 64, "stride": 13, "more_sizes": ()},
        "depth": depth_section(SILHOUETTE_DEPTH),
        "faces": faces_section("centerface_dlib"),
        "codec": codec_section(LINEAR_CODEC),
        "text": text_section(WORDLLAMA_TEXT, num_tokens=24),
        "batch_size": 16,
    },
    "cogvideox": {
        # Landscape, portrait and square, of about as many pixels.
        "clip": {
            "num_frames": 49,
            "fps": 8.0,
            "height": 480,
            "width": 720,
            "stride": 49,
            "more_sizes": ((720, 480), (592, 592)),
        },
        "shots": {"name": "adaptive", "threshold": 0.0, "least_seconds": 0.5},
        # A face with about three of its heights above and below.
        "person": {"name": "face", "zoom": 7.0, "anchor": 0.4, "looks_per_second": 2.0, "path": ""},
        "drop": {"no_person": True, "several_people": True, "least_motion": 0.005},
        "on_bad_input": "skip",
        "depth": depth_section("video_depth_anything", dtype="bfloat16"),
        "faces": faces_section("arcface"),
        "codec": codec_section("cogvideox", dtype="bfloat16", tiled=True),
        "text": text_section("t5"),
        "batch_size": 2,
    },
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.prepare` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_SIZES))}")
    config = ml_collections.ConfigDict()
    config.update(_SIZES[size])
    # A table of captions in the input folder, .csv or .jsonl with `file` and `caption`; a .txt beside a video counts
    # more. The default is the caption of a video without any; empty: every video must have one.
    config.captions = ""
    config.default_prompt = ""
    # Teachers of further fields beside depth, faces and text: `{NAME: {"name": "package.module:function", ...}}`. The
    # function is called with the section and gives a `FeatureTeacher` (sr_jax/teachers/base.py).
    config.features = {}
    # Whether records hold where the face is.
    config.face_boxes = False
    # Draws of the noisy first frame.
    config.noisy_images = 4
    config.seed = 0
    # Keep the clips' own pixels and depth as reference for evaluation.
    config.keep_clips = True
    return config
