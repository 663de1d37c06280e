"""What every command shares: parsing flags, `--help`, and one clear line with an exit code that says what to do."""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from absl import logging as absl_logging

from sr_jax import configs
from sr_jax.declared.checking import check, unknown_key
from sr_jax.declared.help import help_text
from sr_jax.declared.keys import Keys
from sr_jax.errors import OneLineError, PreemptedError, UserError

_CONFIG = "config"
"""The flag that names a config file, in every command that has one."""

KeysOf = Callable[[ml_collections.ConfigDict], Keys]
"""Gives the declaration of a config."""


def run(
    main: Callable[[flags.FlagValues], None],
    flag_values: flags.FlagValues,
    doc: str,
    *,
    config: str | None = None,
    keys_of: KeysOf | None = None,
) -> None:
    """Parses `sys.argv` into `flag_values`, calls `main(flag_values)` and exits.

    Exit code 0 after success or `--help`; 2, with one line on stderr, for a bad flag, a config key that there is not, a
    value that it may not have, or a `UserError`; with one line, the code of any other `OneLineError`. Any other
    exception is a defect of the program and keeps its traceback.

    Args:
        main: The command; raises `UserError` for bad input. What takes long to import, it imports itself.
        flag_values: The command's own flags.
        doc: What `--help` prints above the flags.
        config: What `--config` is when it is not given.
        keys_of: The declaration of a config, for commands that have one.
    """
    # Anew, because Orbax has set logging up for warnings alone where a command imports it at once.
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    # Orbax and Grain tell of normal operation through absl, some of it as warnings; Orbax of a save that fails too, in
    # many tracebacks, of which training makes one line; so does asyncio of the writes of such a save.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("jax").setLevel(logging.WARNING)
    sys.unraisablehook = _without_closed_loops(sys.unraisablehook)
    try:
        if any(argument in ("--help", "-h") for argument in sys.argv[1:]):
            print(f"{doc.strip()}\n\nFlags:\n{flag_values.get_help()}{_help_of_keys(flag_values, config, keys_of)}")
            sys.exit(0)
        parse(flag_values, sys.argv, config=config, keys_of=keys_of)
        main(flag_values)
    except PreemptedError as error:
        print(one_line(error), file=sys.stderr)
        sys.exit(error.exit_code)
    except OneLineError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


def parse(
    flag_values: flags.FlagValues, argv: Sequence[str], *, config: str | None = None, keys_of: KeysOf | None = None
) -> None:
    """Parses `argv` (with the program's name first) and marks Grain's global flags as parsed.

    Args:
        flag_values: The command's own flags.
        argv: The command line. A config `configs/NAME.py` is read from the working folder, and from this package where
            there is no such file.
        config: What `--config` is when it is not given. (A default of the flag itself would be read, with what the
            command line changes of it, when the command is imported.)
        keys_of: The declaration that the config is held against; None: none.

    Raises:
        UserError: For an unknown flag, a missing required flag, a config file or config key that does not exist, or a
            value of the wrong type or out of its range.
    """
    # Grain's worker processes read absl's global flags, which this project does not use.
    flags.FLAGS.mark_as_parsed()
    try:
        argv = flag_values.read_flags_from_files(list(argv), force_gnu=False)
        argv = _with_config(argv, config)
        found = _load_config(flag_values, argv) if _CONFIG in flag_values else None
        if found is not None:
            _require_keys(found, argv)
        rest = flag_values(_located(argv))
    # ml_collections reports a wrong type, a missing file, or a key of a section that was emptied by a flag before, with
    # these built-in exceptions while flags are parsed.
    except (flags.Error, TypeError, ValueError, OSError, KeyError) as error:
        raise UserError(f"{one_line(error)} (see --help)") from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: every option starts with --, see --help")
    if found is not None and keys_of is not None:
        check(keys_of(flag_values[_CONFIG].value), flag_values[_CONFIG].value)


def _without_closed_loops(tell: Callable[[Any], object]) -> Callable[[Any], None]:
    """What tells of exceptions that nobody can catch, but for one kind.

    When one write of a checkpoint fails, Orbax closes its event loop. The writes that are still under way then fail to
    tell that loop of their end, each with a traceback from a thread of TensorStore. That the save failed is told once,
    by what began it.
    """

    def tell_others(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            tell(unraisable)

    return tell_others


def _help_of_keys(flag_values: flags.FlagValues, config: str | None, keys_of: KeysOf | None) -> str:
    """What `--help` says of config keys: all of the config that is named, or how to have them."""
    if keys_of is None:
        return ""
    argv = _with_config(sys.argv, config)
    found = _load_config(flag_values, argv)
    if found is None:
        return "\n\nWith --config, --help prints the keys of that config.\n"
    return f"\n\n{help_text(keys_of(found), found, _given(argv)[-1])}"


def _with_config(argv: Sequence[str], config: str | None) -> list[str]:
    argv = list(argv)
    if config is not None and not any(_is_config(argument) for argument in argv):
        argv.insert(1, f"--{_CONFIG}={config}")
    return argv


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


def _given(argv: Sequence[str]) -> list[str]:
    """The configs that a command line names; the last one counts."""
    following = [*argv[1:], ""]
    given = [a.partition("=")[2] or b for a, b in zip(argv, following, strict=True) if _is_config(a)]
    return [name for name in given if name]


def _load_config(flag_values: flags.FlagValues, argv: Sequence[str]) -> ml_collections.ConfigDict | None:
    """The config that a command line names, without what it changes; None when it names none.

    Raises:
        UserError: When it cannot be read, whatever its file does.
    """
    loaded = [_load(flag_values[_CONFIG].parser, name) for name in _given(argv)]
    return loaded[-1] if loaded else None


def _load(parser: flags.ArgumentParser, name: str) -> ml_collections.ConfigDict:
    try:
        config = parser.parse(_locate(name))
        # A file that could not be read says so at the first use.
        getattr(config, "to_dict", None)
    # The parser packs a whole traceback into the message of some errors.
    except Exception as error:
        cause = error.__context__ if isinstance(error, TypeError | ValueError) and error.__context__ else error
        raise UserError(f"--{_CONFIG}={name}: {_place(cause)}{one_line(cause)}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"--{_CONFIG}={name}: its get_config gives no ConfigDict, but {config!r}")
    return config


def _place(error: BaseException) -> str:
    """Where an error comes from that says little by itself; "" for those that are raised to be read."""
    if isinstance(error, ValueError | OSError):
        return ""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}: {type(error).__name__}: "


def _require_keys(config: ml_collections.ConfigDict, argv: Sequence[str]) -> None:
    """Checks that the config has every key that is set by `--config.key=value`.

    Raises:
        UserError: Naming the key that it lacks, and the one that was meant.
    """
    for argument in argv:
        if found := re.match(rf"--?(?:no)?{_CONFIG}\.([^=]*)", argument):
            require_key(config, found[1])


def require_key(config: ml_collections.ConfigDict, path: str) -> None:
    """Checks that a config has a key.

    Args:
        config: The config.
        path: The key, with dots between sections.

    Raises:
        UserError: Naming the key that was meant.
    """
    section: ml_collections.ConfigDict = config
    names = path.split(".")
    for depth, name in enumerate(names):
        if not isinstance(section, ml_collections.ConfigDict):
            raise UserError(f"no config key {path!r}: {'.'.join(names[:depth])} is a value and no section")
        if name not in section:
            raise UserError(unknown_key(path, list(_paths(config)), section=sorted(section)))
        section = section[name]


def _paths(section: ml_collections.ConfigDict, prefix: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, ml_collections.ConfigDict) and len(value):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def one_line(error: BaseException) -> str:
    """The message of `error` on one line."""
    return " ".join(str(error).split())
