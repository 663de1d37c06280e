"""Loads the released autoencoder as a video codec."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sr_jax.backbones.codec import VideoCodec
from sr_jax.backbones.cogvideox.parts import PARTS
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_network import CogVideoXVAEConfig
from sr_jax.backbones.cogvideox.vae_tiling import Tiling
from sr_jax.conversion.components import find_components
from sr_jax.conversion.imported import is_imported, open_component, read_record
from sr_jax.conversion.streaming import lazy_params
from sr_jax.models.functional import Params
from sr_jax.sections import Section, weights_path

_COMPONENT = "vae"


def load_codec(section: Section) -> VideoCodec:
    """Loads `{"name": "cogvideox", "path": FOLDER, "dtype": "float32", "tiled": False}`; the last two may be left out.

    Raises:
        UserError: As `load_cogvideox_vae`, or when there is no path.
    """
    return load_cogvideox_vae(
        weights_path(section), dtype=section.get("dtype", "float32"), tiled=section.get("tiled", False)
    )


def load_cogvideox_vae(folder: Path, *, dtype: DTypeLike = jnp.float32, tiled: bool = False) -> CogVideoXVAE:
    """Loads the autoencoder of a CogVideoX model; its weights are read to the first device where it is first used.

    Args:
        folder: What `python -m sr_jax.convert import` wrote, or a folder that diffusers saved: a pipeline's or the
            autoencoder's own.
        dtype: Compute type; the parameters are float32.
        tiled: Whether to cut larger images than half of the training size into tiles of that size.

    Raises:
        UserError: If the folder holds no such autoencoder, or its weights are missing or damaged.
    """
    known_hash = ""
    if is_imported(folder):
        config, params = open_component(folder, _COMPONENT, PARTS)
        known_hash = next(iter(read_record(folder).weight_hashes(_COMPONENT)), "")
    else:
        config, params = _from_diffusers(folder)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    tiling = Tiling(config.sample_height // 2, config.sample_width // 2) if tiled else None
    return CogVideoXVAE(config, params, dtype=dtype, tiling=tiling, known_hash=known_hash)


def _from_diffusers(folder: Path) -> tuple[CogVideoXVAEConfig, Params]:
    [component] = find_components(folder, PARTS, [_COMPONENT])
    abstract = component.kind.functional(component.config).abstract_params()
    return component.config, lazy_params(component.weights, component.rules, abstract)
