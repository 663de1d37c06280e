"""What is released of the family, without its weights: for plans."""

import dataclasses
from typing import Any

from sr_jax.backbones.cogvideox.config import RELEASED as TRANSFORMERS
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_network import RELEASED as AUTOENCODERS
from sr_jax.backbones.cogvideox.vae_network import Autoencoder
from sr_jax.backbones.cogvideox.vae_tiling import Tiling
from sr_jax.models.functional import Functional
from sr_jax.sections import Section


def released_models() -> dict[str, dict[str, Any]]:
    """The `model` section of each released transformer, by its name."""
    return {name: dataclasses.asdict(config) for name, config in TRANSFORMERS.items()}


def codec_without_weights(section: Section) -> CogVideoXVAE:
    """The autoencoder, which has the same sizes in every release; its weights are shapes."""
    sizes = AUTOENCODERS["5b_i2v"]
    tiling = Tiling(sizes.sample_height // 2, sizes.sample_width // 2) if section["tiled"] else None
    network = Functional(lambda rngs: Autoencoder(sizes, rngs=rngs))
    options = {"dtype": section["dtype"], "tiling": tiling, "known_hash": "none"}
    return CogVideoXVAE(sizes, network.abstract_params(), **options)
