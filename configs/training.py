"""The keys of every training stage."""

import ml_collections

from sr_jax.configs.base import BASE_KEYS
from sr_jax.configs.stage_one import STAGE_ONE_KEYS
from sr_jax.configs.stage_two import STAGE_TWO_KEYS
from sr_jax.declared.keys import Keys
from sr_jax.errors import UserError

_KEYS = {"base": BASE_KEYS, "stage_one": STAGE_ONE_KEYS, "stage_two": STAGE_TWO_KEYS}


def keys_of(config: ml_collections.ConfigDict) -> Keys:
    """The keys of the stage that a config names.

    Raises:
        UserError: When it names none.
    """
    stage = config.get("stage")
    if stage not in _KEYS:
        raise UserError(f"config.stage is {stage!r}: choose one of {', '.join(_KEYS)}")
    return _KEYS[stage]
