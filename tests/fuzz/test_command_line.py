"""A few examples of each property; `benchmarks/fuzz_inputs.py` tries them for minutes."""

from hypothesis import HealthCheck, settings

from tests.fuzz.command_line import command_lines_are_refused_in_one_line_or_right


def test_command_lines_are_refused_in_one_line_or_right():
    few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    few(command_lines_are_refused_in_one_line_or_right)()
