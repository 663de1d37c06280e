"""The keys that each alignment objective has in its section of `config.alignment`, beside those of its weight."""

from sr_jax.alignment.options import OPTIONS
from sr_jax.declared.keys import Key, Keys, fields_of

_MODULE = {"module": Key("", "The workdir of the stage one that trained the module.")}

OBJECTIVE_KEYS: dict[str, Keys] = {"structure": _MODULE, "identity": _MODULE} | {
    name: fields_of(options, optional=True) for name, options in OPTIONS.items()
}
"""By the objective's name: a file of `sr_jax/alignment`."""
