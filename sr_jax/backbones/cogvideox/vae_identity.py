"""What tells one autoencoder of CogVideoX from another: a dataset made with the one does not go with the other."""

import hashlib
import json
from dataclasses import asdict

import jax
import numpy as np

from sr_jax.backbones.cogvideox.vae_network import CogVideoXVAEConfig
from sr_jax.conversion.parts import Identity, PartFiles
from sr_jax.models.functional import Params

NAME = "cogvideox_vae"
"""What provenance calls this codec."""
_HASH_LENGTH = 16


def weight_hash(config: CogVideoXVAEConfig, params: Params) -> str:
    """First 16 hex digits of the sha256 of config and weights, as float32; one weight is in memory at a time."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for path, leaf in sorted(leaves.items()):
        digest.update(path.encode() + np.ascontiguousarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:_HASH_LENGTH]


def image_condition_factor(config: CogVideoXVAEConfig) -> float:
    """What the scaled latents of a conditioning image are multiplied by: not 1 where `invert_scale_latents`."""
    return config.scaling_factor**-2 if config.invert_scale_latents else 1.0


def identify(files: PartFiles) -> Identity:
    """As a dataset's provenance has it, see `PartKind.identify`."""
    config, hashes = files.config, []
    if files.params is not None:
        hashes = [weight_hash(config, files.params(dtype)) for dtype in dict.fromkeys((files.dtype, ""))]
    return {
        "entry": "codec",
        "name": NAME,
        "weight_hashes": hashes,
        "scaling_factor": config.scaling_factor,
        "image_condition_factor": image_condition_factor(config),
    }
