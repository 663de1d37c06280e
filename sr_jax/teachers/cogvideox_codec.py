"""Loads the released autoencoder as a video codec."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from jax.typing import DTypeLike

from sr_jax.conversion.components import KINDS, find_components
from sr_jax.conversion.imported import is_imported, open_component
from sr_jax.conversion.streaming import read_params
from sr_jax.models.functional import Params
from sr_jax.models.vae import CogVideoXVAE
from sr_jax.models.vae_network import CogVideoXVAEConfig
from sr_jax.models.vae_tiling import Tiling

_COMPONENT = "vae"
_FLOAT32 = jnp.dtype(jnp.float32)


def load_cogvideox_vae(folder: Path, *, dtype: DTypeLike = jnp.float32, tiled: bool = False) -> CogVideoXVAE:
    """Loads the autoencoder of a CogVideoX model to the first device.

    Args:
        folder: What `python -m sr_jax.convert import` wrote, or a folder that diffusers saved: a pipeline's or the
            autoencoder's own.
        dtype: Compute type; the parameters are float32.
        tiled: Whether to cut larger images than half of the training size into tiles of that size.

    Raises:
        UserError: If the folder holds no such autoencoder, or its weights are missing or damaged.
    """
    config, params = _from_import(folder) if is_imported(folder) else _from_diffusers(folder)
    tiling = Tiling(config.sample_height // 2, config.sample_width // 2) if tiled else None
    return CogVideoXVAE(config, params, dtype=dtype, tiling=tiling)


def _from_import(folder: Path) -> tuple[CogVideoXVAEConfig, Params]:
    config, stored = open_component(folder, _COMPONENT)
    abstract, shardings = _layout(config)
    return config, stored.load(abstract, shardings=shardings, dtype=_FLOAT32)


def _from_diffusers(folder: Path) -> tuple[CogVideoXVAEConfig, Params]:
    [component] = find_components(folder, [_COMPONENT])
    abstract, shardings = _layout(component.config)
    return component.config, read_params(component.weights, component.rules, abstract, shardings, dtype=_FLOAT32)


def _layout(config: CogVideoXVAEConfig) -> tuple[Params, Any]:
    abstract = KINDS[_COMPONENT].functional(config).abstract_params()
    device = SingleDeviceSharding(jax.local_devices()[0])
    return abstract, jax.tree.map(lambda _: device, abstract)
