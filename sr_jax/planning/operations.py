"""Floating-point operations of a traced function: all products that it will run, recomputed ones included."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core
from jax.interpreters import partial_eval


def count_flops(closed: core.ClosedJaxpr) -> int:
    """The operations of all matrix products and convolutions whose results are used, 2 for each multiply-add.

    A loop's body counts as often as the loop runs, a kernel's as often as its grid has cells (so that a kernel which
    skips cells counts too many); of a condition the costlier side counts, and a `while` loop of unknown length counts
    once. The count is of the whole program, before it is split over devices.

    Args:
        closed: For example `jitted.trace(...).jaxpr`.
    """
    return _flops(live_jaxpr(closed))


def live_jaxpr(closed: core.ClosedJaxpr) -> core.Jaxpr:
    """A traced function without what its results do not need.

    A trace still holds what remat policies keep and the backward pass therefore need not compute again.
    """
    return partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))[0]


def _flops(jaxpr: core.Jaxpr) -> int:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracting, _), _ = params["dimension_numbers"]
        return 2 * math.prod(equation.outvars[0].aval.shape) * _sizes(equation.invars[0], contracting)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        numbers = params["dimension_numbers"].rhs_spec
        taps = math.prod(kernel) // kernel[numbers[0]]
        # A transposed convolution is written with zeros between its inputs, which no one multiplies.
        dilation = math.prod(params["lhs_dilation"])
        return 2 * math.prod(equation.outvars[0].aval.shape) * taps // dilation
    inside = [_flops(jaxpr) for jaxpr in inner_jaxprs(params)]
    if not inside:
        return 0
    if name == "scan":
        return params["length"] * sum(inside)
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid) * sum(inside)
    if name == "shard_map":
        return params["mesh"].size * sum(inside)
    return max(inside) if name == "cond" else sum(inside)


def _sizes(variable: Any, axes: tuple[int, ...]) -> int:
    return math.prod(variable.aval.shape[axis] for axis in axes)


def inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The functions that an equation calls, from its parameters."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr | core.Jaxpr):
                yield getattr(item, "jaxpr", item)
