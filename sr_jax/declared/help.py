"""The keys of a config as `--help` prints them."""

import textwrap

import ml_collections

from sr_jax.declared.checking import entries
from sr_jax.declared.keys import Keys

_WIDTH = 100


def help_text(keys: Keys, config: ml_collections.ConfigDict, name: str) -> str:
    """Each key with its value, its range and its meaning.

    Args:
        keys: The declaration of the config.
        config: The config.
        name: What names it, for example "configs/prepare.py:people".

    Raises:
        UserError: For a config that is not as it is declared.
    """
    lines = [f"Keys of {name}, each set as --config.KEY=VALUE:", ""]
    for path, key, value in entries(keys, config):
        plain = value.to_dict() if isinstance(value, ml_collections.ConfigDict) else value
        lines.append(f"  {path} = {plain!r}")
        text = "Of a part of your own." if key is None else f"{key.meaning} [{key.in_words()}]"
        lines += textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
