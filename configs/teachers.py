"""Fitting a codec and the small face teacher.

  python -m sr_jax.demo.fit_teachers --config configs/teachers.py:people --videos VIDEOS --output TEACHERS

Sizes: `people` for rendered people, in minutes; `small` for those of the pretrained models, whose codec is learned, in
hours; `smoke` for seconds; `real` for the clips of `python -m sr_jax.demo.real_clips`.

Hardware: two CPU cores.
Time: unknown by itself, a part of the demo's 12 minutes.
Memory: 2.1 GiB as a part of the demo.
Comes out: codec.npz, faces/detector.safetensors, faces/recogniser.safetensors and metrics.json.
"""

import ml_collections

from sr_jax.configs.sections import DEPTH, LINEAR_CODEC, SEED, SILHOUETTE_DEPTH, SMALL_CODEC
from sr_jax.declared.keys import Key, make_config

KEYS = {
    "parts": Key(
        "all",
        "What to write: the codec where a package's face teacher is used, faces for a second face teacher (a judge).",
        choices=("all", "codec", "faces"),
    ),
    "seed": SEED,
    "clips": Key(0, "Training clips that are read, from the first on; 0: all.", minimum=0),
    # Whose coloured depth the codec is fitted on, besides the clips.
    "depth": DEPTH,
    "codec": {
        "name": Key(LINEAR_CODEC, "Which codec: the linear or the learned one.", choices=(LINEAR_CODEC, SMALL_CODEC)),
        "path": Key("", "A fitted one, to be used as it is."),
        "latent_channels": Key(16, "Channels of the latents.", minimum=1),
        "temporal_compression_ratio": Key(4, "Frames in a latent frame, after the first.", minimum=1),
        "spatial_compression_ratio": Key(4, "Pixels along each side of a latent pixel.", minimum=1),
    },
    # Of the learned codec.
    "codec_network": {
        "width": Key(96, "Channels.", minimum=1),
        "encoder_blocks": Key(3, "Residual blocks of the encoder.", minimum=0),
        "decoder_blocks": Key(4, "Residual blocks of the decoder.", minimum=0),
    },
    "codec_schedule": {
        "steps": Key(6000, "Updates.", minimum=1),
        "batch_size": Key(4, "Clips in an update.", minimum=1),
        "learning_rate": Key(0.015, "Peak of Muon's learning rate, which Adam's go with.", minimum=0),
    },
    "codec_noise": Key(0.15, "Largest noise on the latents that its decoder learns from.", minimum=0),
    "depth_weight": Key(0.5, "What a pixel of depth counts beside one of the clips in fitting the codec.", minimum=0),
    "latent_noise": Key(
        0.3, "Largest noise on latents of the degraded frames that the face teacher learns from too.", minimum=0
    ),
    "detector": {
        "width": Key(32, "Channels.", minimum=1),
        "blocks": Key(4, "Residual blocks.", minimum=1),
    },
    "detector_schedule": {
        "steps": Key(280, "Updates.", minimum=1),
        "batch_size": Key(32, "Frames in an update.", minimum=1),
        "learning_rate": Key(1e-2, "Peak of the learning rate.", minimum=0),
    },
    "recogniser": {
        "crop_size": Key(16, "Side of a face crop in pixels.", minimum=1),
        # Below 1 the corners of the box are cut off, which show the room and not the head.
        "margin": Key(0.95, "Side of the crop over the longer side of the face's box.", above=0),
        "widths": Key((32, 64), "Channels of the stages, multiples of 8.", items=Key(8, minimum=1)),
        "blocks_per_stage": Key(1, "Residual blocks of each stage.", minimum=1),
        "embedding_dim": Key(64, "Numbers of a face.", minimum=1),
    },
    "recogniser_schedule": {
        "steps": Key(340, "Updates.", minimum=1),
        "batch_size": Key(128, "Frames in an update.", minimum=1),
        "learning_rate": Key(1e-2, "Peak of the learning rate.", minimum=0),
    },
    "margin_loss": {
        "scale": Key(12.0, "s of the angular margin loss.", above=0),
        "margin": Key(0.2, "m of the angular margin loss, in radians.", minimum=0),
    },
}
_RATES = {"learning_rate": 3e-3}
_SIZES = {
    "people": {},
    "small": {
        "clips": 3000,
        "codec": {"name": SMALL_CODEC},
        "detector_schedule": {"steps": 3000, "batch_size": 32} | _RATES,
        "recogniser": {"crop_size": 32, "widths": (32, 64, 128), "embedding_dim": 64},
        "recogniser_schedule": {"steps": 8000, "batch_size": 128} | _RATES,
    },
    # Whether everything works, in seconds.
    "smoke": {
        "detector": {"width": 8, "blocks": 1},
        "detector_schedule": {"steps": 4, "batch_size": 8},
        "recogniser": {"crop_size": 8, "widths": (8,), "embedding_dim": 16},
        "recogniser_schedule": {"steps": 4, "batch_size": 8},
    },
    "real": {"depth": {"name": SILHOUETTE_DEPTH}},
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.demo.fit_teachers` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_SIZES))}")
    return make_config(KEYS, _SIZES[size])
