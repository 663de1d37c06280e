r"""Stage one: trains the structure module (latent -> depth latent) and the identity module (latent, depth -> face).

python -m sr_jax.train --config configs/stage_one.py:tiny --workdir W1 --config.data.dir=DATA \
      --config.init.transformer=W0
"""

import ml_collections

from configs.common import get_common_config


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage one at a named size."""
    config = get_common_config(size, num_train_steps={"tiny": 160, "real": 200})
    config.stage = "stage_one"
    config.train_modules = ("structure", "identity")
    # "clean" is the paper's choice; "noisy" is its ablation.
    config.structure_input = "clean"
    return config
