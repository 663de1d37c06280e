"""Fitting the judge of body parts.

  python -m sr_jax.demo.body_parts --config configs/body_parts.py:people --videos VIDEOS --output JUDGE

Sizes: `people` in minutes, `small` in half an hour, for clips in which a hand is some pixels wide; `smoke` in seconds.

Hardware: two CPU cores.
Time: 1,000 steps of `small` take 6 minutes of one core, all 3,000 so about 18; `people` is meant for minutes.
Memory: unknown.
Comes out: the judge's network, and how well it tells parts apart on held-out people.
"""

import ml_collections

from sr_jax.configs.sections import SEED
from sr_jax.declared.keys import Key, make_config

KEYS = {
    "seed": SEED,
    "network": {
        "width": Key(48, "Channels at a quarter of the frame's sides.", minimum=2),
        "blocks": Key(3, "Residual blocks there.", minimum=1),
    },
    "schedule": {
        "steps": Key(500, "Updates.", minimum=1),
        "batch_size": Key(32, "Frames in an update.", minimum=1),
        "learning_rate": Key(4e-3, "Peak of the learning rate.", minimum=0),
    },
}
_SIZES = {
    "people": {},
    "small": {"network": {"width": 64, "blocks": 6}, "schedule": {"steps": 3000}},
    "smoke": {"network": {"width": 8, "blocks": 1}, "schedule": {"steps": 4, "batch_size": 8}},
}


def get_config(size: str = "people") -> ml_collections.ConfigDict:
    """The config of `sr_jax.demo.body_parts` at a named size.

    Raises:
        ValueError: For an unknown size.
    """
    if size not in _SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(_SIZES)}")
    return make_config(KEYS, _SIZES[size])
