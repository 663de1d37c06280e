"""The base run: trains the transformer from scratch, or from `config.init.transformer`.

  python -m sr_jax.train --config configs/base.py:tiny --workdir W0 --config.data.dir=DATA

The released CogVideoX weights take its place at full size (`2b`, `5b_i2v`, `1_5_5b_i2v`), where the base run is plain
fine-tuning of an import; at the small sizes (`tiny`, `real`, `small`) there are none. `smoke` is four
steps, in seconds: whether everything works (`bash launch/smoke.sh`).

Hardware: two CPU cores for the small sizes; accelerators for released ones (docs/scaling.md; none has been used yet).
Time: about 4 minutes for `tiny` (640 steps); unknown for the released sizes (4,000 steps).
Memory: 2.1 GiB for `tiny` as a part of the demo; `python -m sr_jax.plan` tells that of the released sizes.
Comes out: checkpoints, EMA included, metrics.jsonl and TensorBoard logs in the workdir.
"""

import ml_collections

from sr_jax.configs.common import DENOISING_KEYS, KEYS
from sr_jax.configs.sizes import get_stage_config

BASE_KEYS = KEYS | DENOISING_KEYS


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """The base run at a named size."""
    return get_stage_config(size, "base", BASE_KEYS)
