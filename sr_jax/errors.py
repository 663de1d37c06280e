"""The two exceptions that are no defects of the program: wrong input, and being told to stop."""


class UserError(Exception):
    """Bad input from the user.

    The message is one line: what is wrong, where, and what to do. Commands print it and exit with code 2
    (see `sr_jax.command_line`).
    """


class PreemptedError(Exception):
    """The machine is wanted back: the run saved what it had and stopped early.

    Commands print the one line and exit with code 75, on which launchers run the same command again.
    """
