"""Sampling.

  python -m sr_jax.sample --config configs/sample.py:people --checkpoint W2 --data DATA --split test --output SAMPLES \
      --config.codec.path=TEACHERS/codec.npz

Sizes: `people` for the small codec and text teacher of the demo, with or without real clips.
"""

import ml_collections


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.sample` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size != "people":
        raise ValueError(f"unknown size {size!r}: choose people")
    config = ml_collections.ConfigDict()
    # As the dataset was prepared: the checkpoint refuses any other.
    config.codec = {"name": "linear", "path": ""}
    config.text = {"name": "wordllama", "num_tokens": 24}
    # "dpm" or "ddim".
    config.sampler = "ddim"
    config.num_inference_steps = 20
    # 1.0: no guidance, and half the cost.
    config.guidance_scale = 1.0
    # "", "released" or "cosine".
    config.dynamic_guidance = ""
    config.seed = 0
    config.batch_size = 8
    return config
