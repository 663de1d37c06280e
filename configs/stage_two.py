r"""Stage two: fine-tunes the transformer with L_t + 0.01 L_S + 1 L_ID through the frozen modules of stage one.

  python -m sr_jax.train --config configs/stage_two.py:tiny --workdir W2 --config.data.dir=DATA \
      --config.init.transformer=W0 --config.alignment.structure.module=W1 --config.alignment.identity.module=W1

With released weights `W0` is their import (`python -m sr_jax.convert import`), and the size that of the model, such as
`5b_i2v`. The control is the same run with both weights 0:

  ... --config.alignment.structure.weight=0 --config.alignment.identity.weight=0

Either trains low-rank factors of the transformer alone with a rank (see `python -m sr_jax.convert --help` for their
export):

  ... --config.lora.rank=64 --config.optimizer.name=adamw --config.optimizer.learning_rate=1e-4
"""

import ml_collections

from sr_jax.configs.common import get_common_config


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage two at a named size."""
    config = get_common_config(size, "stage_two")
    # Files of `sr_jax.alignment`, or your own: {"mine": {"objective": "package.module:build", "weight": 0.5}}. The
    # weights are lambda_S and lambda_ID of the paper; `module` is the workdir of the stage one that trained it.
    config.alignment = {
        "structure": {"weight": 0.01, "module": ""},
        "identity": {"weight": 1.0, "module": ""},
    }
    return config
