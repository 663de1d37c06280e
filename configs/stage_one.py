r"""Stage one: trains the structure module (latent -> depth latent) and the identity module (latent, depth -> face).

  python -m sr_jax.train --config configs/stage_one.py:tiny --workdir W1 --config.data.dir=DATA \
      --config.init.transformer=W0

With released weights `config.init.transformer` is their import (`python -m sr_jax.convert import`):

  python -m sr_jax.train --config configs/stage_one.py:5b_i2v --workdir W1 --config.data.dir=DATA \
      --config.init.transformer=MODEL
"""

import ml_collections

from sr_jax.configs.common import get_common_config


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage one at a named size."""
    config = get_common_config(size, "stage_one")
    config.train_modules = ("structure", "identity")
    # "clean" is the paper's choice; "noisy" is its ablation.
    config.structure_input = "clean"
    return config
