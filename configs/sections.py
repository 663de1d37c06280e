"""The config sections that name a codec or a teacher: every key that a part of this project reads.

A short name is a file or folder of the project: a depth teacher lies in `sr_jax/teachers/depth`, faces, text and tokens
beside it, and a codec belongs to a folder of `sr_jax/backbones`. Any other part is named as `package.module:function`,
and the function is called with the section, whose keys are then its own. A key that the named part does not read counts
for nothing; it is there so that another name can be chosen, and set up, on the command line.
"""

from sr_jax.declared.keys import Key, Part

# The small parts of the demo.
LINEAR_CODEC = "sr_jax.demo.linear_codec:load"
SMALL_CODEC = "sr_jax.demo.small_codec.codec:load"
SMALL_FACES = "sr_jax.demo.small_faces.teacher:load"
SMALL_BODY_PARTS = "sr_jax.demo.body_parts.judge:load"
SILHOUETTE_DEPTH = "sr_jax.demo.silhouette:load"
WORDLLAMA_TEXT = "sr_jax.demo.wordllama:load"

FLOATS = ("float32", "bfloat16")
"""Types to compute or to store in."""
POSITION_TABLES = ("keep", "drop", "interpolate")
"""What becomes of a learned position table, which fits one size of clip."""

MESH = {
    "data": Key(1, "Devices that share a batch; -1: all that are left.", minimum=1, besides=(-1,)),
    "fsdp": Key(-1, "Devices that share batch and parameters; -1: all that are left.", minimum=1, besides=(-1,)),
    "context": Key(1, "Devices that share the tokens of a clip; -1: all that are left.", minimum=1, besides=(-1,)),
    "tensor": Key(1, "Devices that share each product; -1: all that are left.", minimum=1, besides=(-1,)),
    "dcn_data": Key(1, "Slices of a pod along data.", minimum=1),
    "dcn_fsdp": Key(1, "Slices of a pod along fsdp.", minimum=1),
}
"""With several slices of a pod, slices lie along `data` and `fsdp`."""
SHARDING = Key({}, "Fields of ShardingRules that are to differ, such as {'mlp': 'fsdp'}.")
SEED = Key(0, "Of everything that is drawn.", minimum=0, maximum=2**32 - 1)

CODEC = Part(
    always={"name": Key(LINEAR_CODEC, "The codec: a folder of sr_jax/backbones, or package.module:function.")},
    keys={
        "path": Key("", "Its file or folder."),
        "dtype": Key("float32", "Compute type of a backbone's.", choices=FLOATS),
        "tiled": Key(False, "Whether a backbone's works tile by tile, in less memory."),
    },
)

DEPTH = Part(
    always={
        "name": Key("precomputed", "The depth teacher: a file of sr_jax/teachers/depth, or package.module:function."),
        "colour_map": Key("inferno", "Colours of depth: a map of sr_jax/teachers/depth/colours.py."),
        "low_percentile": Key(
            0.0, "Percentile of a clip's values with the first colour; 0: no outliers.", minimum=0, maximum=100
        ),
        "high_percentile": Key(
            100.0, "Percentile of a clip's values with the last colour; 100: likewise.", minimum=0, maximum=100
        ),
    },
    keys={
        "path": Key("", "Its weights. Empty: the cache folder, or the Hugging Face hub for video_depth_anything."),
        "kind": Key(
            "",
            "What depth files beside videos hold that do not say it, for precomputed; empty: an error for such.",
            choices=("", "disparity", "depth"),
        ),
        "size": Key("small", "Of video_depth_anything: small, base or large."),
        "input_size": Key(518, "Shorter side of what video_depth_anything reads, in pixels.", minimum=1),
        "dtype": Key("float32", "Compute type of video_depth_anything.", choices=FLOATS),
    },
)

FACES = Part(
    always={
        "name": Key(SMALL_FACES, "The face teacher: a file of sr_jax/teachers/faces, or package.module:function."),
        "choice": Key(
            "largest",
            "Of several faces: the largest, or the one most like that of the clip's first frame.",
            choices=("largest", "first"),
        ),
    },
    keys={
        "path": Key("", "Its weights, or a cache folder for those that packages carry; empty: the user's."),
        "detector": Key("centerface", "The face detector beside arcface and onnx: centerface, or scrfd with its file."),
        "detector_path": Key("", "The detector's file."),
        "mean": Key(127.5, "What onnx takes from each pixel: it reads (pixel - mean) / deviation."),
        "deviation": Key(127.5, "What onnx divides each pixel by.", above=0),
        "colour_order": Key("rgb", "The order in which onnx reads colours.", choices=("rgb", "bgr")),
    },
)

BODY_PARTS = Part(
    always={"name": Key(SMALL_BODY_PARTS, "The judge of body parts: package.module:function.")},
    keys={"path": Key("", "Its file.")},
)

FEATURES = Part(
    always={
        "name": Key("mobilenet_v2", "The teacher: a file of sr_jax/teachers/tokens, or package.module:function."),
    },
    keys={
        "path": Key("", "Of dinov2: a folder, a file, or a name on the hub; of mobilenet_v2: a cache folder."),
        "revision": Key("", "Branch, tag or commit on the hub, for dinov2; empty: the newest."),
        "input_size": Key(224, "Shorter side of what dinov2 reads, in pixels.", minimum=1),
        "block": Key(0, "Behind which block dinov2's tokens are taken, from 1; 0: the last.", minimum=0),
        "dtype": Key("float32", "Compute type of dinov2.", choices=FLOATS),
        "channels": Key(128, "Numbers of a token of mobilenet_v2.", minimum=1, maximum=128),
        "shape": Key(
            (16, 24, 768), "Rows, columns and channels of precomputed's tokens.", length=3, items=Key(1, minimum=1)
        ),
        "entry_frames": Key(1, "Frames that an entry of precomputed covers, after the first.", minimum=1),
        "frames": Key(
            "last", "What stands for a latent frame: its last frame, or the mean of all.", choices=("last", "mean")
        ),
        "batch_size": Key(16, "Frames that a network reads at a time.", minimum=1),
    },
    required=("name",),
)

TEXT = Part(
    always={
        "name": Key(WORDLLAMA_TEXT, "The text teacher: a file of sr_jax/teachers/text, or package.module:function.")
    },
    keys={
        "path": Key("", "Its weights."),
        "num_tokens": Key(226, "Tokens of a caption.", minimum=1),
        "batch_size": Key(8, "Captions that t5 reads at a time.", minimum=1),
        "dtype": Key("bfloat16", "Compute type of t5.", choices=FLOATS),
    },
)
