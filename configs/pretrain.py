"""The pretrained models of the demo: seeds, data and how long each is trained.

  python -m sr_jax.demo.pretrain --config configs/pretrain.py:small --output PRETRAINING

Sizes: `small` for the models that are shipped, hours of 2 cores; `trial` for as many, each trained too little to be
good, in minutes.

Hardware: two CPU cores.
Time: unknown in one go; about ten hours for `small` by the times of its parts.
Memory: unknown.
Comes out: the models, packed as the package carries them, and their card.
"""

import ml_collections

from sr_jax.configs.sections import SEED
from sr_jax.declared.keys import Key, make_config

KEYS = {
    "seed": SEED,
    "judge_seed": Key(1, "Of the judges, which must be other networks than the teachers.", minimum=0),
    "clips": {
        "train": Key(4000, "Clips of the people and motions that are trained on.", minimum=2),
        "test": Key(256, "Clips of others, for the measures in the model card.", minimum=2),
        "codec": Key(3000, "Training clips that the codec and the face networks are fitted on.", minimum=2),
    },
    "steps": {
        "codec": Key(2500, "Of the codec.", minimum=1),
        "detector": Key(1500, "Of each face detector.", minimum=1),
        "recogniser": Key(3000, "Of each face recogniser.", minimum=1),
        "transformer": Key(12_000, "Of the transformer.", minimum=1),
        "structure": Key(3000, "Of f_S, and of the noisy one.", minimum=1),
        "identity": Key(6000, "Of f_ID, and of the one without depth.", minimum=1),
        "structure_judge": Key(1500, "Of the structure judge.", minimum=1),
    },
    "sampled_clips": Key(48, "Test clips that the transformer is sampled for.", minimum=1),
}
_SIZES = {
    "small": {},
    "trial": {
        "clips": {"train": 24, "test": 8, "codec": 24},
        "steps": dict.fromkeys(KEYS["steps"], 2),
        "sampled_clips": 8,
    },
}


def get_config(size: str = "small") -> ml_collections.ConfigDict:
    """The config of `sr_jax.demo.pretrain` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(sorted(_SIZES))}")
    return make_config(KEYS, _SIZES[size])
