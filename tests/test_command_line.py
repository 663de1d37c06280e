"""What every command does with its flags and with bad input."""

import importlib
import sys

import pytest
from absl import flags

from sr_jax import command_line
from sr_jax.errors import UserError


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    flags.DEFINE_integer("clips", 1, "How many.", flag_values=values)
    flags.DEFINE_string("output", None, "Where to.", flag_values=values, required=True)
    return values


def test_parse(flag_values):
    command_line.parse(flag_values, ["program", "--clips=3", "--output", "folder"])
    assert (flag_values.clips, flag_values.output) == (3, "folder")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--output=x", "--clips=many"], "many"),
        (["--output=x", "--colour=red"], "colour"),
        ([], "output"),
        (["--output=x", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_bad_flags(flag_values, argv, message):
    with pytest.raises(UserError, match=message) as error:
        command_line.parse(flag_values, ["program", *argv])
    assert "\n" not in str(error.value)


def test_run_turns_bad_input_into_one_line_and_exit_code_2(flag_values, capsys, monkeypatch):
    def main(args):
        raise UserError("nothing there:\n  look elsewhere")

    monkeypatch.setattr(sys, "argv", ["program", "--output=x"])
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, flag_values, "Does things.")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: nothing there: look elsewhere\n"


def test_run_leaves_defects_alone(flag_values, monkeypatch):
    def main(args):
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["program", "--output=x"])
    with pytest.raises(ZeroDivisionError):
        command_line.run(main, flag_values, "Does things.")


@pytest.mark.parametrize(
    "command", ["evaluate", "fit_teachers", "people", "prepare", "real_clips", "report", "sample", "train"]
)
def test_help(command, capsys, monkeypatch):
    module = importlib.import_module(f"sr_jax.{command}")
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as stop:
        command_line.run(module.main, module.FLAGS, module.__doc__)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m sr_jax.{command}" in shown
    assert "\n  --" in shown
