r"""Stage one: trains the structure module (latent -> depth latent) and the identity module (latent, depth -> face).

  python -m sr_jax.train --config configs/stage_one.py:tiny --workdir W1 --config.data.dir=DATA \
      --config.init.transformer=W0

With released weights `config.init.transformer` is their import (`python -m sr_jax.convert import`):

  python -m sr_jax.train --config configs/stage_one.py:5b_i2v --workdir W1 --config.data.dir=DATA \
      --config.init.transformer=MODEL

Modules that are trained already are taken further on other clips, prepared as theirs were:

  python -m sr_jax.train --config configs/stage_one.py:small --workdir W1 --config.data.dir=DATA \
      --config.init.modules=BEFORE

Size `smoke` is four steps, in seconds: whether everything works (`bash launch/smoke.sh`).

Hardware: two CPU cores for `tiny` and `real`; accelerators for released sizes (none has been used yet).
Time: unknown by itself; `tiny` (160 steps) is a part of the demo's 12 minutes; released sizes have 10,000 steps.
Memory: 2.1 GiB for `tiny` as a part of the demo; not planned for the released sizes: ask `python -m sr_jax.plan`.
Comes out: the workdir with f_S and f_ID, which `config.alignment.*.module` of stage two names.
"""

import ml_collections

from sr_jax.configs.common import KEYS
from sr_jax.configs.sizes import get_stage_config
from sr_jax.declared.keys import Key

STAGE_ONE_KEYS = KEYS | {
    "init": KEYS["init"]
    | {"modules": Key("", "The workdir of a stage one that is taken further, in place of a transformer; empty: none.")},
    "train_modules": Key(
        ("structure", "identity"), "What is trained.", items=Key("structure", choices=("structure", "identity"))
    ),
    "structure_input": Key(
        "clean",
        "What f_S reads: clean latents as in the paper, or noisy ones, its ablation.",
        choices=("clean", "noisy"),
    ),
    "structure_text": Key(
        "empty_prompt",
        "What f_S gets as text; the dataset's empty prompt becomes a part of it.",
        choices=("none", "empty_prompt"),
    ),
}


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage one at a named size."""
    return get_stage_config(size, "stage_one", STAGE_ONE_KEYS)
