"""The base run: trains the image-to-video transformer from scratch, or from `config.init.transformer`.

  python -m sr_jax.train --config configs/base.py:tiny --workdir W0 --config.data.dir=DATA

The released CogVideoX weights take its place at full size; at the tiny size there are none.
"""

import ml_collections

from configs.common import get_common_config


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """The base run at a named size."""
    config = get_common_config(size, num_train_steps={"tiny": 1000, "real": 300})
    config.stage = "base"
    config.image_dropout = 0.0
    config.text_dropout = 0.1
    return config
