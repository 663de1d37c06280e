"""What attention sends between the devices that share a sequence, and what either way of doing so would send."""

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any

from jax.extend import core

from sr_jax.planning.collectives import sent_bytes
from sr_jax.planning.operations import inner_jaxprs, live_jaxpr

_AXIS = "context"
_KINDS = {"all_to_all": "all-to-all", "all_gather": "all-gather", "reduce_scatter": "reduce-scatter"}


@dataclasses.dataclass(frozen=True)
class AttentionTraffic:
    """Bytes that one device sends in one step for attention over sequences that it shares with others.

    Attributes:
        sent: As the step is.
        exchange: If every attention exchanged tokens for heads, forwards and backwards (`models.attention`).
        gather: If every attention gathered keys and values, and summed their gradients up.
    """

    sent: int
    exchange: int
    gather: int


def attention_traffic(closed: core.ClosedJaxpr, ways: int) -> AttentionTraffic | None:
    """The collectives of attention in a traced step; what it sends the other way follows from the ratio of the two.

    Of self-attention an exchange sends `2 / ways` of what a gather does, forwards and backwards alike (see
    `models.attention.exchanges_heads`).

    Args:
        closed: For example `jitted.trace(...).jaxpr`.
        ways: Devices that share a sequence; None comes back when it is 1.
    """
    if ways == 1:
        return None
    sent = collections.Counter()
    for equation, runs in _equations(live_jaxpr(closed), 1):
        kind = _KINDS.get(equation.primitive.name)
        if kind and _AXIS in equation.params["axis_name"]:
            operand = equation.invars[0].aval
            sent[kind] += runs * sent_bytes(kind, operand.size * operand.dtype.itemsize, ways)
    exchanged = sent.pop("all-to-all", 0)
    gathered = sent.total()
    return AttentionTraffic(
        sent=exchanged + gathered,
        exchange=exchanged + gathered * 2 // ways,
        gather=gathered + exchanged * ways // 2,
    )


def _equations(jaxpr: core.Jaxpr, runs: int) -> Iterator[tuple[Any, int]]:
    """All equations, those inside others too, and how often each runs."""
    for equation in jaxpr.eqns:
        yield equation, runs
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inside in inner_jaxprs(equation.params):
            yield from _equations(inside, runs * repeats)
