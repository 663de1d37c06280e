"""What every command shares: parsing flags, `--help`, and one clear line with an exit code that says what to do."""

import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_collections
from absl import flags
from absl import logging as absl_logging

from sr_jax import configs
from sr_jax.errors import OneLineError, PreemptedError, UserError

_CONFIG = "config"
"""The flag that names a config file, in every command that has one."""


def run(
    main: Callable[[flags.FlagValues], None], flag_values: flags.FlagValues, doc: str, *, config: str | None = None
) -> None:
    """Parses `sys.argv` into `flag_values`, calls `main(flag_values)` and exits.

    Exit code 0 after success or `--help`; 2, with one line on stderr, for a bad flag, an unknown config key or a
    `UserError`; with one line, the code of any other `OneLineError`. Any other exception is a defect of the program and
    keeps its traceback.

    Args:
        main: The command; raises `UserError` for bad input.
        flag_values: The command's own flags.
        doc: What `--help` prints above the flags.
        config: What `--config` is when it is not given.
    """
    # Anew, because Orbax has set logging up for warnings alone when it was imported.
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    # Orbax and Grain tell of normal operation through absl, some of it as warnings; Orbax of a save that fails too, in
    # many tracebacks, of which training makes one line.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("jax").setLevel(logging.WARNING)
    try:
        if any(argument in ("--help", "-h") for argument in sys.argv[1:]):
            print(f"{doc.strip()}\n\nFlags:\n{flag_values.get_help()}")
            sys.exit(0)
        parse(flag_values, sys.argv, config=config)
        main(flag_values)
    except PreemptedError as error:
        print(one_line(error), file=sys.stderr)
        sys.exit(error.exit_code)
    except OneLineError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


def parse(flag_values: flags.FlagValues, argv: Sequence[str], *, config: str | None = None) -> None:
    """Parses `argv` (with the program's name first) and marks Grain's global flags as parsed.

    Args:
        flag_values: The command's own flags.
        argv: The command line. A config `configs/NAME.py` is read from the working folder, and from this package where
            there is no such file.
        config: What `--config` is when it is not given. (A default of the flag itself would be read, with what the
            command line changes of it, when the command is imported.)

    Raises:
        UserError: For an unknown flag, a missing required flag, a config file or config key that does not exist, or a
            value of the wrong type.
    """
    # Grain's worker processes read absl's global flags, which this project does not use.
    flags.FLAGS.mark_as_parsed()
    argv = list(argv)
    if config is not None and not any(_is_config(argument) for argument in argv):
        argv.insert(1, f"--{_CONFIG}={config}")
    try:
        if _CONFIG in flag_values:
            _check_keys(flag_values[_CONFIG].parser, argv)
        rest = flag_values(_located(argv))
        # A config file that could not be loaded says so at its first use.
        for name in flag_values:
            getattr(flag_values[name].value, "to_dict", None)
    # ml_collections reports a wrong type or a missing file with these built-in exceptions while flags are parsed.
    except (flags.Error, TypeError, ValueError, OSError) as error:
        raise UserError(f"{one_line(error)} (see --help)") from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: every option starts with --, see --help")


def _is_config(argument: str) -> bool:
    return re.fullmatch(rf"--?{_CONFIG}(=.*)?", argument, re.DOTALL) is not None


def _located(argv: Sequence[str]) -> list[str]:
    """The command line with the path of the file that each config is read from."""
    located = list(argv)
    for i, argument in enumerate(argv):
        if _is_config(argument):
            flag, equals, config = argument.partition("=")
            if equals:
                located[i] = f"{flag}={_locate(config)}"
            elif i + 1 < len(argv):
                located[i + 1] = _locate(argv[i + 1])
    return located


def _locate(config: str) -> str:
    """`FILE:SIZE` of a config, where `configs/NAME.py` that is no file in this folder is the package's own."""
    file, colon, size = config.partition(":")
    path, packaged = Path(file), Path(configs.__file__).parent / Path(file).name
    if path.is_file() or path.parent != Path("configs") or not packaged.is_file():
        return config
    return f"{packaged}{colon}{size}"


def _check_keys(parser: flags.ArgumentParser, argv: Sequence[str]) -> None:
    """Checks that the config has every key that is set by `--config.key=value`.

    Raises:
        UserError: Naming a key that it lacks, and those beside it; or for a config file that cannot be read.
    """
    given = [
        argument.partition("=")[2] or following
        for argument, following in zip(argv, [*argv[1:], ""], strict=True)
        if _is_config(argument)
    ]
    if not given:
        return
    # The parser packs a whole traceback into its message.
    try:
        config = parser.parse(_locate(given[-1]))
    except (TypeError, ValueError) as error:
        raise UserError(f"--{_CONFIG}={given[-1]}: {one_line(error.__context__ or error)}") from error
    for argument in argv:
        found = re.match(rf"--?(?:no)?{_CONFIG}\.([^=]+)", argument)
        if found and isinstance(config, ml_collections.ConfigDict):
            _check_key(config, found[1])


def _check_key(config: ml_collections.ConfigDict, path: str) -> None:
    section, names = config, path.split(".")
    for depth, name in enumerate(names):
        if not isinstance(section, ml_collections.ConfigDict):
            raise UserError(f"no config key {path!r}: {'.'.join(names[:depth])} is a value and no section")
        if name not in section:
            where = ".".join(names[:depth]) or "the config"
            raise UserError(f"no config key {path!r}: {where} has {', '.join(sorted(section))}")
        section = section[name]


def one_line(error: BaseException) -> str:
    """The message of `error` on one line."""
    return " ".join(str(error).split())
