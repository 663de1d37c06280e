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

from sr_jax.configs.common import DENOISING_KEYS, KEYS, get_stage_config
from sr_jax.configs.objectives import OBJECTIVE_KEYS
from sr_jax.declared.keys import Each, Key, Part

_OBJECTIVE = Part(
    always={"weight": Key(1.0, "What its loss counts: lambda_S and lambda_ID of the paper; 0: nothing.", minimum=0)},
    keys={
        "objective": Key("", "A file of sr_jax/alignment, or package.module:build; the section's name when left out."),
    },
    required=("weight",),
    named_by="objective",
    own=OBJECTIVE_KEYS,
)
STAGE_TWO_KEYS = (
    KEYS
    | DENOISING_KEYS
    | {
        # Your own: {"mine": {"objective": "package.module:build", "weight": 0.5}}.
        "alignment": Each(
            _OBJECTIVE,
            {"structure": {"weight": 0.01, "module": ""}, "identity": {"weight": 1.0, "module": ""}},
        )
    }
)


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage two at a named size."""
    return get_stage_config(size, "stage_two", STAGE_TWO_KEYS)
