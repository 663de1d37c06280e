r"""Stage two: fine-tunes the transformer with L_t + 0.01 L_S + 1 L_ID through the frozen modules of stage one.

  python -m sr_jax.train --config configs/stage_two.py:tiny --workdir W2 --config.data.dir=DATA \
      --config.init.transformer=W0 --config.frozen.structure=W1 --config.frozen.identity=W1

With released weights `W0` is their import (`python -m sr_jax.convert import`), and the size that of the model, such as
`5b_i2v`. The control is the same run with both weights 0:

  ... --config.structure_weight=0 --config.identity_weight=0

Either trains low-rank factors of the transformer alone with a rank (see `python -m sr_jax.convert --help` for their
export):

  ... --config.lora.rank=64 --config.optimizer.name=adamw --config.optimizer.learning_rate=1e-4
"""

import ml_collections

from sr_jax.configs.common import get_common_config


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage two at a named size."""
    config = get_common_config(size, "stage_two")
    # lambda_S and lambda_ID of the paper.
    config.structure_weight = 0.01
    config.identity_weight = 1.0
    config.frozen = {"structure": "", "identity": ""}
    return config
