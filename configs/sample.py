r"""Sampling.

  python -m sr_jax.sample --config configs/sample.py:people --checkpoint W2 --data DATA --split test --output SAMPLES \
      --config.codec.path=TEACHERS/codec.npz

Sizes: `people` for the linear codec and text teacher of the demo, with or without real clips; `small` for the
pretrained models and what is trained from them; `smoke` for seconds; `cogvideox` for the released image-to-video models
and what is trained from them. One clip with released weights:

  python -m sr_jax.convert import --source THUDM/CogVideoX-5b-I2V --output MODEL
  python -m sr_jax.sample --config configs/sample.py:cogvideox --checkpoint MODEL --image face.png \
      --prompt "a woman waves" --output clip.mp4

Hardware: two CPU cores for `people`; an accelerator for `cogvideox` (none has been used yet).
Time: unknown.
Memory: decoding 49 frames of 480x720 takes 8.2 GiB of a v5e in tiles (`codec.tiled`), planned, the text
encoder 8.9, and the transformer 1.9 of each of 8 (docs/sampling.md).
Comes out: one mp4, or a folder of them: of --data with sampling.json, which `evaluate` scores.
"""

import ml_collections

from sr_jax.configs.sections import CODEC, FLOATS, MESH, POSITION_TABLES, SEED, SHARDING, SMALL_CODEC, TEXT
from sr_jax.declared.keys import Key, make_config

KEYS = {
    # As the dataset was prepared: the checkpoint refuses any other. An empty path is that of the checkpoint, where that
    # is an import of released weights.
    "codec": CODEC,
    "text": TEXT,
    # What was trained from nothing has "dpm" and "trailing" where these are empty.
    "sampler": Key("ddim", "The sampler; CogVideoX has ddim and dpm; empty: as the release's scheduler says."),
    "timestep_spacing": Key(
        "",
        "Which timesteps are taken, as diffusers names them; empty: as the release's scheduler says.",
        choices=("", "trailing", "linspace", "leading"),
    ),
    "num_inference_steps": Key(10, "Steps of the sampler.", minimum=1),
    "guidance_scale": Key(1.0, "Of classifier-free guidance; 1 or less: none, at half the cost.", minimum=0),
    "dynamic_guidance": Key("none", "How guidance changes from step to step.", choices=("none", "released", "cosine")),
    # The released pipelines stretch it.
    "image_fit": Key("crop", "What becomes of an image of another aspect.", choices=("crop", "stretch")),
    "batch_size": Key(8, "Clips that are generated at a time.", minimum=1),
    # The released models: 8k or 8k + 1 frames, sides that are multiples of 16.
    "clip": {
        "num_frames": Key(0, "Frames of a clip; 0: as the checkpoint was trained.", minimum=0),
        "height": Key(0, "In pixels; 0: as the checkpoint was trained.", minimum=0),
        "width": Key(0, "In pixels; 0: as the checkpoint was trained.", minimum=0),
        "fps": Key(0.0, "Frames a second; 0: as the checkpoint was trained.", minimum=0),
    },
    # What `--frames` makes longer than the model's clips (`clip`), which become windows of it.
    "long": {
        "frames": Key(0, "Frames of a long clip; 0: clips are of the model's length.", minimum=0),
        "way": Key(
            "windows",
            "Windows that share their noisy latents where they overlap, or clips that go on from the last frame.",
            choices=("windows", "continuation"),
        ),
        "overlap": Key(0.5, "Share of a window that the next one has too, at least.", above=0, below=1),
    },
    "position_table": Key(
        "keep",
        "What becomes of a learned position table at another size; without training there, drop is better.",
        choices=POSITION_TABLES,
    ),
    # As for diffusers, ComfyUI or kohya's scripts; the layout is told from the keys.
    "lora": {
        "files": Key((), "LoRA files that are merged into the transformer.", items=Key("")),
        "weights": Key((), "What each of them counts; empty: 1.", items=Key(1.0)),
    },
    "dtype": Key("", "Compute type of the transformer; empty: as the checkpoint was trained.", choices=("", *FLOATS)),
    # As for training; context and tensor share a single clip, data and fsdp a batch.
    "mesh": MESH,
    "sharding": SHARDING,
    "transformer_stays": Key(True, "Whether the transformer stays on its devices while clips are decoded."),
    "seed": SEED,
}
# Any number of devices shares the tokens of a clip.
_ALL = {"mesh": {"fsdp": 1, "context": -1}}
_SIZES = {
    "people": {"text": {"num_tokens": 48}},
    "small": {"text": {"num_tokens": 48}, "codec": {"name": SMALL_CODEC}, "num_inference_steps": 20},
    "smoke": {"text": {"num_tokens": 48}, "num_inference_steps": 2, "batch_size": 4},
    "cogvideox": {
        "codec": {"name": "cogvideox", "dtype": "bfloat16"},
        "text": {"name": "t5", "batch_size": 1},
        # "dpm" of the 5B models.
        "sampler": "",
        "num_inference_steps": 50,
        "guidance_scale": 6.0,
        "dynamic_guidance": "released",
        "batch_size": 1,
    },
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.sample` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(_SIZES)}")
    return make_config(KEYS, _ALL | _SIZES[size])
