"""Preparing videos.

  python -m sr_jax.prepare --config configs/prepare.py:people --input VIDEOS --output DATA

Sizes: `people` for rendered people with exact depth; `real` for real clips with the teachers that packages carry.
"""

import ml_collections

_TEACHERS = {
    "people": {
        "depth": {"name": "precomputed"},
        "faces": {"name": "small", "path": ""},
    },
    "real": {
        "depth": {"name": "precomputed"},
        "faces": {"name": "small", "path": ""},
    },
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.prepare` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _TEACHERS:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_TEACHERS))}")
    config = ml_collections.ConfigDict()
    # `stride`: frames from one clip's start to the next one's, at `fps`.
    config.clip = {"num_frames": 13, "fps": 8.0, "height": 64, "width": 48, "stride": 13}
    config.codec = {"name": "linear", "path": ""}
    config.update(_TEACHERS[size])
    config.text = {"name": "wordllama", "num_tokens": 16}
    # The caption of a video without a caption file; empty: every video must have one.
    config.default_prompt = ""
    # Draws of the noisy first frame.
    config.noisy_images = 4
    config.seed = 0
    config.batch_size = 16
    # Keep the clips' own pixels and depth as reference for evaluation.
    config.keep_clips = True
    return config
