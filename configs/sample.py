r"""Sampling.

  python -m sr_jax.sample --config configs/sample.py:people --checkpoint W2 --data DATA --split test --output SAMPLES \
      --config.codec.path=TEACHERS/codec.npz

Sizes: `people` for the small codec and text teacher of the demo, with or without real clips; `cogvideox` for the
released image-to-video models and what is trained from them. One clip with released weights:

  python -m sr_jax.convert import --source THUDM/CogVideoX-5b-I2V --output MODEL
  python -m sr_jax.sample --config configs/sample.py:cogvideox --checkpoint MODEL --image face.png \
      --prompt "a woman waves" --output clip.mp4
"""

import ml_collections

from sr_jax.configs.sections import LINEAR_CODEC, WORDLLAMA_TEXT, codec_section, text_section

_SIZES = {
    "people": {
        # As the dataset was prepared: the checkpoint refuses any other.
        "codec": codec_section(LINEAR_CODEC),
        "text": text_section(WORDLLAMA_TEXT, num_tokens=24),
        # "dpm" or "ddim".
        "sampler": "ddim",
        "num_inference_steps": 10,
        # 1.0 or less: no guidance, and half the cost.
        "guidance_scale": 1.0,
        # "none", "released" or "cosine".
        "dynamic_guidance": "none",
        # An image of another aspect: "crop" it, or "stretch" it.
        "image_fit": "crop",
        "batch_size": 8,
    },
    "cogvideox": {
        # An empty path is that of the checkpoint, where it is an import of released weights.
        "codec": codec_section("cogvideox", dtype="bfloat16"),
        "text": text_section("t5", batch_size=1),
        # What the authors recommend for the 5B models.
        "sampler": "dpm",
        "num_inference_steps": 50,
        "guidance_scale": 6.0,
        "dynamic_guidance": "released",
        # As the released pipelines do.
        "image_fit": "stretch",
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
    config = ml_collections.ConfigDict()
    # 0: as the checkpoint was trained. The released models: 8k or 8k + 1 frames, sides that are multiples of 16.
    config.clip = {"num_frames": 0, "height": 0, "width": 0, "fps": 0.0}
    # "keep", "drop" or "interpolate" a learned position table, which fits one size of clip; without training at the new
    # size "drop" is the better choice, see configs/common.py.
    config.position_table = "keep"
    # Compute type of the transformer, float32 or bfloat16; empty: as the checkpoint was trained.
    config.dtype = ""
    config.seed = 0
    config.update(_SIZES[size])
    return config
