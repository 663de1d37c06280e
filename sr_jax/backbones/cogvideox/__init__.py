"""CogVideoX: network, autoencoder, sizes, and the names of its weights.

Configs read the sizes (`config`) and load no JAX: the network and the autoencoder are imported when they are asked for.
"""

import importlib
from typing import Any

_LIES_IN = {
    "BACKBONE": ("backbone", "CogVideoX"),
    "load_codec": ("codec", "load_codec"),
    "released_models": ("released", "released_models"),
    "codec_without_weights": ("released", "codec_without_weights"),
}


def __getattr__(name: str) -> Any:
    if name not in _LIES_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LIES_IN[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
