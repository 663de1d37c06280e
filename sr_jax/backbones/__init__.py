"""Video diffusion transformers, each with its codec and the names of its weights; see `base.py`.

Configs read a family's sizes, so nothing here imports JAX.
"""

from typing import Any

from sr_jax import sections
from sr_jax.sections import Section


def load_codec(section: Section) -> Any:
    """Loads the codec that a section names: that of a backbone, whose package defines `load_codec`, or anybody's own.

    For example `{"name": "cogvideox", "path": FOLDER}`, or `{"name": "sr_jax.demo.linear_codec:load", "path": FILE}`.

    Returns:
        A `codec.VideoCodec`.

    Raises:
        UserError: For an unknown name, a missing entry or weights that cannot be read.
    """
    return sections.load(section, "codec", "codec", package=__name__, attribute="load_codec")
