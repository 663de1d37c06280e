"""Fitting the small codec and the small face teacher.

python -m sr_jax.demo.fit_teachers --config configs/teachers.py:people --videos VIDEOS --output TEACHERS

Sizes: `people` for rendered people; `real` for the clips of `python -m sr_jax.demo.real_clips`.
"""

import ml_collections

from sr_jax.configs.sections import SILHOUETTE_DEPTH, depth_section

_DEPTHS = {
    "people": depth_section("precomputed"),
    "real": depth_section(SILHOUETTE_DEPTH),
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.demo.fit_teachers` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _DEPTHS:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_DEPTHS))}")
    config = ml_collections.ConfigDict()
    # What to write: `all`; `codec` where a package's face teacher is used; `faces` for a second face teacher with
    # another seed (a judge).
    config.parts = "all"
    config.seed = 0
    # Whose coloured depth the codec is fitted on, besides the clips.
    config.depth = _DEPTHS[size]
    config.codec = {"latent_channels": 16, "temporal_compression_ratio": 4, "spatial_compression_ratio": 4}
    # How much a pixel of coloured depth counts beside a pixel of the clips when the codec is fitted.
    config.depth_weight = 0.5
    # Largest noise on latents, whose variance is 1, of the degraded frames that the face teacher also learns from.
    config.latent_noise = 0.3
    config.detector = {"width": 32, "blocks": 4}
    config.detector_schedule = {"steps": 280, "batch_size": 32, "learning_rate": 1e-2}
    # A margin below 1 cuts off the corners of the box, which show the room and not the head.
    config.recogniser = {
        "crop_size": 16,
        "margin": 0.95,
        "widths": (32, 64),
        "blocks_per_stage": 1,
        "embedding_dim": 64,
    }
    config.recogniser_schedule = {"steps": 340, "batch_size": 128, "learning_rate": 1e-2}
    # The angular margin loss's s and m.
    config.margin_loss = {"scale": 12.0, "margin": 0.2}
    return config
