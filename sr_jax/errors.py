"""The one exception that means "the input is wrong", as opposed to "the program is wrong"."""


class UserError(Exception):
    """Bad input from the user.

    The message is one line: what is wrong, where, and what to do. Commands print it and exit with code 2
    (see `sr_jax.command_line`).
    """
