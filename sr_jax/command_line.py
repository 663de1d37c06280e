"""What every command shares: parsing flags, `--help`, and one clear line with an exit code that says what to do."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from absl import flags
from absl import logging as absl_logging

from sr_jax.errors import PreemptedError, UserError

_BAD_INPUT = 2
_TRY_AGAIN = os.EX_TEMPFAIL
"""75: launchers run the same command again."""


def run(main: Callable[[flags.FlagValues], None], flag_values: flags.FlagValues, doc: str) -> None:
    """Parses `sys.argv` into `flag_values`, calls `main(flag_values)` and exits.

    Exit code 0 after success or `--help`; 2, with one line on stderr, for a bad flag, an unknown config key or a
    `UserError`; 75, with one line, for a `PreemptedError`. Any other exception is a defect of the program and keeps its
    traceback.

    Args:
        main: The command; raises `UserError` for bad input.
        flag_values: The command's own flags.
        doc: What `--help` prints above the flags.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Orbax and Grain tell of normal operation through absl, some of it as warnings.
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)
    try:
        if any(argument in ("--help", "-h") for argument in sys.argv[1:]):
            print(f"{doc.strip()}\n\nFlags:\n{flag_values.get_help()}")
            sys.exit(0)
        parse(flag_values, sys.argv)
        main(flag_values)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(_BAD_INPUT)
    except PreemptedError as error:
        print(one_line(error), file=sys.stderr)
        sys.exit(_TRY_AGAIN)


def parse(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Parses `argv` (with the program's name first) and marks Grain's global flags as parsed.

    Raises:
        UserError: For an unknown flag, a missing required flag, a config file or config key that does not exist, or a
            value of the wrong type.
    """
    # Grain's worker processes read absl's global flags, which this project does not use.
    flags.FLAGS.mark_as_parsed()
    try:
        rest = flag_values(list(argv))
        # A config file that could not be loaded says so at its first use.
        for name in flag_values:
            getattr(flag_values[name].value, "to_dict", None)
    # ml_collections reports an unknown key or a wrong type with these built-in exceptions while flags are parsed.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{one_line(error)} (see --help)") from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: every option starts with --, see --help")


def one_line(error: BaseException) -> str:
    """The message of `error` on one line."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())
