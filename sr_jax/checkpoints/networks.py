"""Backbones and networks from the configs of runs."""

from collections.abc import Mapping
from typing import Any

from sr_jax.backbones.base import Backbone, get_backbone
from sr_jax.models.functional import Functional


def backbone_of(config: Mapping[str, Any]) -> Backbone:
    """The backbone of the transformer that a config (`backbone` and `model`) describes."""
    return get_backbone(config["backbone"], config["model"])


def structure_backbone_of(config: Mapping[str, Any]) -> Backbone:
    """The backbone of the structure module that a config (`backbone` and `structure`) describes."""
    return get_backbone(config["backbone"], config["structure"])


def transformer_network(backbone: Backbone, *, dtype: str = "float32", remat: str = "none") -> Functional:
    """The transformer of a backbone.

    Args:
        backbone: Its sizes and variant.
        dtype: Compute type.
        remat: What the backward pass of the blocks keeps, one of `remat.POLICIES`.
    """
    return Functional(lambda rngs: backbone.build(rngs, dtype=dtype, remat=remat))
