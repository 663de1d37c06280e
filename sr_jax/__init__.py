"""SemanticREPA in JAX: depth and face identity as supervision for image-to-video diffusion transformers.

The functions for notebooks, `sr_jax.load_pipeline` and those beside it, are of `sr_jax.api` (docs/python.md). They are
imported at their first use, as that takes seconds.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = (
    "accelerator",
    "demo_models",
    "evaluate_clips",
    "export_lora",
    "export_model",
    "generate_clips",
    "import_model",
    "load_config",
    "load_pipeline",
    "prepare_clips",
    "render_people",
    "show_clips",
    "show_curves",
    "show_page",
    "train_stage",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("sr_jax.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
