"""Preparing videos.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA

Sizes: `people` for rendered people with exact depth, `people_tokens` for them with the field `mobilenet_v2_tokens` too;
`small` for those of the pretrained models, whose codec is learned; `smoke` for seconds;
`real` for real clips with the teachers that packages carry; `cogvideox` for anybody's videos, to train released
CogVideoX models, whose autoencoder and text encoder lie where `python -m sr_jax.convert import` wrote them
(`--config.codec.path` and `--config.text.path`), with the paper's face teacher from `--config.faces.path`
(`arcface.onnx` or `glintr100.onnx`).

Teachers of further fields, such as tokens of a frozen encoder, can be given on the command line:

  ... --config.features="{'dinov2': {'name': 'dinov2', 'path': 'facebook/dinov2-base'}}"

Hardware: CPU cores for `people` and `real`; an accelerator for `cogvideox` (none has been used yet).
Time: unknown for the released teachers; docs/preparing.md has their FLOPs, and what packaged ones took on two cores.
Memory: 0.8 GiB with packaged teachers at 480x720, measured; unknown for the released ones.
Comes out: records (9.5 MB for 49 frames of 480x720), preview.html, rejected.jsonl, and the clips for evaluation.
"""

from typing import Any

import ml_collections

from sr_jax.configs.sections import CODEC, DEPTH, FACES, FEATURES, SEED, SILHOUETTE_DEPTH, SMALL_CODEC, TEXT
from sr_jax.declared.keys import Each, Key, make_config

KEYS = {
    "clip": {
        "num_frames": Key(13, "Frames of a clip.", minimum=1),
        "fps": Key(24.0, "Frames a second of a clip.", above=0),
        "height": Key(64, "In pixels.", minimum=1),
        "width": Key(48, "In pixels.", minimum=1),
        "stride": Key(13, "Frames from one clip's start to the next one's.", minimum=1),
        # With more than one size or length the output holds a dataset for each.
        "more_sizes": Key(
            (),
            "Further sizes (height, width): a clip gets the one whose aspect is nearest to its video's.",
            items=Key((64, 48), length=2, items=Key(64, minimum=1)),
        ),
        "more_frames": Key(
            (),
            "Further numbers of frames, fewer: a shot too short for num_frames gives clips of the most that it holds.",
            items=Key(5, minimum=2),
        ),
        "frames_fps": Key(
            0.0, "Frames a second of folders of nothing but numbered pictures; 0: those are no videos.", minimum=0
        ),
        "still_images": Key(False, "Whether other pictures become clips of one frame, in datasets of their own."),
    },
    "shots": {
        "name": Key("none", "How cuts are found, by PySceneDetect.", choices=("none", "adaptive", "content")),
        "threshold": Key(
            0.0, "How large a change is a cut; 0: the detector's own, 3 for adaptive, 27 for content.", minimum=0
        ),
        "least_seconds": Key(0.5, "What is between two cuts nearer than this is left out.", minimum=0),
    },
    # With neither, videos are clips already, one person in the middle of each.
    "person": {
        "name": Key("none", "What finds people: face, none, or package.module:function."),
        "zoom": Key(0.0, "Height of a crop over that of the person's box; 0: the largest crop that fits.", minimum=0),
        "anchor": Key(0.5, "Where in a crop's height the box's middle lies; 0 is the top.", minimum=0, maximum=1),
        "looks_per_second": Key(2.0, "How often people and motion are looked at.", above=0),
        "path": Key("", "The finder's weights, where it has its own; empty: the cache folder."),
    },
    "drop": {
        "no_person": Key(False, "Whether clips in most of which no person is found are dropped."),
        "several_people": Key(False, "Whether clips in most of which there are several people are dropped."),
        "least_motion": Key(0.0, "Clips with less motion are dropped, in picture heights a second.", minimum=0),
        "least_side": Key(0, "Clips of videos whose shorter side has fewer pixels are dropped.", minimum=0),
        "least_fps": Key(0.0, "Clips whose video shows fewer frames a second are dropped.", minimum=0),
    },
    "on_bad_input": Key(
        "stop", "Whether bad input stops the run before anything is written, or is skipped.", choices=("stop", "skip")
    ),
    "depth": DEPTH,
    "faces": FACES,
    "codec": CODEC,
    "text": TEXT,
    "batch_size": Key(16, "Clips that are encoded at a time.", minimum=1),
    "captions": Key(
        "", "A .csv or .jsonl of the input folder with `file` and `caption`; a .txt beside a video counts more."
    ),
    "default_prompt": Key("", "The caption of a video without any; empty: every video must have one."),
    # {"dinov2": {"name": "dinov2", "path": PATH}} writes `dinov2_tokens`. A teacher of your own, a `FeatureTeacher`, is
    # {"mine": {"name": "package.module:function", ...}}.
    "features": Each(FEATURES),
    "face_boxes": Key(False, "Whether records hold where the face is."),
    "noisy_images": Key(4, "Draws of the noisy first frame; 0 where only text-to-video is trained.", minimum=0),
    "seed": SEED,
    "keep_clips": Key(True, "Whether the clips' own pixels and depth are kept, as reference for evaluation."),
}
# Made for this, so a bad one is a mistake to be told of at once.
_PEOPLE = {"text": {"num_tokens": 48}}
_SIZES: dict[str, dict[str, Any]] = {
    "people": _PEOPLE,
    # With tokens of a frozen encoder, for objectives that align the transformer's hidden states.
    "people_tokens": _PEOPLE | {"features": {"mobilenet_v2": {"name": "mobilenet_v2"}}},
    # As the pretrained models know them.
    "small": _PEOPLE
    | {"clip": {"fps": 40.0, "height": 88, "width": 72}, "codec": {"name": SMALL_CODEC}, "face_boxes": True},
    # Whether everything works, in seconds, on rendered people of 5 frames.
    "smoke": _PEOPLE
    | {"clip": {"num_frames": 5, "fps": 8.0, "height": 32, "width": 24, "stride": 5}, "noisy_images": 1},
    # The clips of `python -m sr_jax.demo.real_clips`.
    "real": {
        "clip": {"fps": 12.0, "width": 64},
        "depth": {"name": SILHOUETTE_DEPTH},
        "faces": {"name": "centerface_dlib"},
        "text": {"num_tokens": 48},
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
        "shots": {"name": "adaptive"},
        # A face with about three of its heights above and below.
        "person": {"name": "face", "zoom": 7.0, "anchor": 0.4},
        "drop": {"no_person": True, "several_people": True, "least_motion": 0.005, "least_side": 360, "least_fps": 8.0},
        "on_bad_input": "skip",
        "depth": {"name": "video_depth_anything", "dtype": "bfloat16"},
        "faces": {"name": "arcface"},
        "codec": {"name": "cogvideox", "dtype": "bfloat16", "tiled": True},
        "text": {"name": "t5"},
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
    return make_config(KEYS, _SIZES[size])
