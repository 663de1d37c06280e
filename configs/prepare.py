"""Preparing videos.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA

Sizes: `people` for rendered people with exact depth; `real` for real clips with the teachers that packages carry.
"""

import ml_collections

# `stride`: frames from one clip's start to the next one's, at `fps`.
_SIZES = {
    "people": {
        "clip": {"num_frames": 13, "fps": 24.0, "height": 64, "width": 48, "stride": 13},
        "depth": {"name": "precomputed"},
        "faces": {"name": "small", "path": ""},
    },
    # The clips of `python -m sr_jax.real_clips`. An empty path means the user's cache folder.
    "real": {
        "clip": {"num_frames": 13, "fps": 12.0, "height": 64, "width": 64, "stride": 13},
        "depth": {"name": "silhouette_stand_in", "path": ""},
        "faces": {"name": "centerface_dlib", "path": ""},
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
    config.codec = {"name": "linear", "path": ""}
    config.text = {"name": "wordllama", "num_tokens": 24}
    # The caption of a video without a caption file; empty: every video must have one.
    config.default_prompt = ""
    # Draws of the noisy first frame.
    config.noisy_images = 4
    config.seed = 0
    config.batch_size = 16
    # Keep the clips' own pixels and depth as reference for evaluation.
    config.keep_clips = True
    return config
