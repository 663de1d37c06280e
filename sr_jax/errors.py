"""How a command ends that is no defect of the program: one line, and an exit code that launchers act on."""

from typing import ClassVar


class OneLineError(Exception):
    """An end whose message is one line for the user; commands print it and exit with the code of its kind.

    See `sr_jax.command_line`, and `launch/` for what is done with the codes.
    """

    exit_code: ClassVar[int]


class UserError(OneLineError):
    """Bad input from the user: the line says what is wrong, where, and what to do. Not tried again."""

    exit_code = 2


class DivergedError(OneLineError):
    """Training has diverged: the same command again would compute the same. Not tried again."""

    exit_code = 3


class PreemptedError(OneLineError):
    """The machine is wanted back: the run saved what it had and stopped early. The same command goes on."""

    exit_code = 75


HUNG = 76
"""Exit code of a process that ended itself because it hung (`training.watchdog`). The same command goes on."""
