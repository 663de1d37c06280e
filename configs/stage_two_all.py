r"""Stage two with every alignment objective of this project at hand, each switched off until it has a weight.

  python -m sr_jax.train --config configs/stage_two_all.py:5b_i2v --workdir W --config.data.dir=DATA \
      --config.init.transformer=W0 --config.alignment.crepa.weight=0.5 --config.alignment.layersync.weight=0.2

The published weights: structure 0.01 and identity 1 (SemanticREPA), repa 0.5 (iREPA: 1), trd 0.5, crepa 0.5, layersync
0.2. Blocks are the published ones at released sizes. `--help` with this config prints all options. The records need
the tokens that an objective reads; see docs/alignment.md.

Hardware: as configs/stage_two.py.
Time: unknown; docs/alignment.md has the FLOPs that each objective adds.
Memory: planned in docs/alignment.md, on v5p:2x2x4.
Comes out: as of configs/stage_two.py; projectors are in the workdir and in no export.
"""

import ml_collections

from sr_jax.configs.objectives import OBJECTIVE_KEYS
from sr_jax.configs.sizes import get_stage_config
from sr_jax.configs.stage_two import STAGE_TWO_KEYS

_BLOCKS = {
    "tiny": {
        "repa": {"block": 2},
        "trd": {"block": 2},
        "crepa": {"block": 2},
        "layersync": {"block": 1, "deeper_block": 3},
    },
    "smoke": {
        "repa": {"block": 1},
        "trd": {"block": 1},
        "crepa": {"block": 1},
        "layersync": {"block": 1, "deeper_block": 2},
    },
}
_BLOCKS["real"] = _BLOCKS["tiny"]
"""Where a transformer is too small for the published blocks."""


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    """Stage two at a named size, with a section for each objective."""
    config = get_stage_config(size, "stage_two", STAGE_TWO_KEYS)
    blocks, of_all = _BLOCKS.get(size, {}), STAGE_TWO_KEYS["alignment"].part.always
    with config.unlocked():
        for name, own in OBJECTIVE_KEYS.items():
            options = {key: declared.default for key, declared in {**of_all, **own}.items()}
            config.alignment[name] = options | blocks.get(name, {}) | {"weight": 0.0}
    return config
