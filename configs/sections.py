"""The config sections that name a codec or a teacher: every key that a part of this project reads.

A short name is a file or folder of the project: a depth teacher lies in `sr_jax/teachers/depth`, faces and text beside
it, and a codec belongs to a folder of `sr_jax/backbones`. Any other part is named as `package.module:function`, and the
function is called with the section. A key that the named part does not read counts for nothing; it is there so that
another name can be chosen, and set up, on the command line.
"""

from typing import Any

# The small parts of the demo.
LINEAR_CODEC = "sr_jax.demo.linear_codec:load"
SMALL_FACES = "sr_jax.demo.small_faces.teacher:load"
SILHOUETTE_DEPTH = "sr_jax.demo.silhouette:load"
WORDLLAMA_TEXT = "sr_jax.demo.wordllama:load"


def codec_section(name: str, **changes: Any) -> dict[str, Any]:
    """A video codec. `path`: its file or folder."""
    # dtype, tiled: of a backbone's.
    return {"name": name, "path": "", "dtype": "float32", "tiled": False} | changes


def depth_section(name: str, **changes: Any) -> dict[str, Any]:
    """A depth teacher, and how depth is coloured: the map, and the percentiles of its first and last colour.

    `path`: its weights. Empty: the user's cache folder, or the Hugging Face hub for video_depth_anything.
    """
    section = {
        "name": name,
        "path": "",
        # What grey pictures and videos beside a video hold, for precomputed: disparity or depth.
        "kind": "disparity",
        # Of video_depth_anything, whose sizes are small, base and large.
        "size": "small",
        "input_size": 518,
        "dtype": "float32",
        "colour_map": "inferno",
        "low_percentile": 0.0,
        "high_percentile": 100.0,
    }
    return section | changes


def faces_section(name: str, **changes: Any) -> dict[str, Any]:
    """A face teacher. `path`: its weights, or, for those that packages carry, a cache folder; empty: the user's."""
    section = {
        "name": name,
        "path": "",
        # Of several faces: the `largest`, or the one most like that of the clip's `first` frame.
        "choice": "largest",
        # Beside arcface and onnx: centerface, or scrfd with its file.
        "detector": "centerface",
        "detector_path": "",
        # What onnx makes of pixels: (pixel - mean) / deviation, in the order rgb or bgr.
        "mean": 127.5,
        "deviation": 127.5,
        "colour_order": "rgb",
    }
    return section | changes


def text_section(name: str, **changes: Any) -> dict[str, Any]:
    """A text teacher. `path`: its weights."""
    # All but num_tokens: of t5.
    return {"name": name, "path": "", "num_tokens": 226, "batch_size": 8, "dtype": "bfloat16"} | changes
