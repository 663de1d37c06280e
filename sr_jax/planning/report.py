"""A plan as text for people and as JSON for programs."""

import dataclasses
import json
from typing import Any

from sr_jax.planning.estimate import Estimate
from sr_jax.planning.planner import Plan

_MEMORY_NAMES = {
    "params": "parameters",
    "optimizer": "optimizer state",
    "average": "averaged parameters",
    "frozen": "frozen modules",
    "batch": "batch",
    "padding": "padding of layouts",
    "temporaries": "temporaries",
    "output": "output beside the state",
    "code": "program",
    "gradients": "gradients, estimated",
    "kept": "kept activations, estimated",
    "block": "one block, estimated",
    "weights": "kernels in use, estimated",
}
_WIDTH = 30


def to_text(plan: Plan | Estimate) -> str:
    """Everything that planning found, a section for each question, the answer last."""
    if isinstance(plan, Estimate):
        sections = [_head(plan, "ESTIMATED: added up, not compiled"), _memory(plan)]
        return "\n\n".join([*("\n".join(section) for section in sections), verdict(plan)])
    compiled = "compiled" if plan.compiled else "refused by the compiler"
    how = f"{compiled} in {plan.compile_seconds:.0f} s ({plan.compile_cpu_seconds:.0f} s of CPU)"
    sections = [_head(plan, how), _memory(plan), _compute(plan)]
    if plan.traffic is not None:
        sections.append(_collectives(plan))
        if plan.attention is not None:
            sections.append(_attention(plan))
    if plan.roofline is not None:
        sections.append(_roofline(plan))
    return "\n\n".join([*("\n".join(section) for section in sections), verdict(plan)])


def to_json(plan: Plan | Estimate) -> dict[str, Any]:
    """The plan's fields, with what follows from them."""
    fields = json.loads(json.dumps(dataclasses.asdict(plan))) | {"fits": plan.fits, "memory_total": plan.memory.total}
    if isinstance(plan, Estimate):
        return fields | {"estimated": True}
    seconds = plan.roofline and plan.roofline.seconds
    return fields | {"estimated": False, "model_flops": plan.model_flops, "step_seconds_bound": seconds}


def verdict(plan: Plan | Estimate) -> str:
    """Yes or no in one line."""
    need, guess = gib(plan.memory.total), " by this estimate" if isinstance(plan, Estimate) else ""
    if plan.fits is None:
        return f"It compiles and needs {need} a device. The memory of these devices is not known here."
    having = f"{need} of the {gib(plan.capacity)} of a device"
    if plan.fits:
        return f"YES{guess}, it fits: {having} ({plan.memory.total / plan.capacity:.0%})."
    return f"NO{guess}, it does not fit: it needs {having} ({plan.memory.total / plan.capacity:.0%})."


def gib(size: int) -> str:
    """Bytes as GiB, or as MiB when they are few."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.2f} MiB"


def _head(plan: Plan | Estimate, how: str) -> list[str]:
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    return [
        f"{plan.topology}: {plan.num_devices} devices, mesh {mesh}",
        f"{plan.clips} clips a step, {plan.work.tokens:,} tokens each; {how}",
    ]


def _memory(plan: Plan | Estimate) -> list[str]:
    kinds = dataclasses.asdict(plan.memory)
    lines = [_row(_MEMORY_NAMES[name], gib(size)) for name, size in kinds.items() if size]
    capacity = [] if plan.capacity is None else [_row("of", gib(plan.capacity))]
    return ["Memory of one device", *lines, _row("together", gib(plan.memory.total)), *capacity]


def _compute(plan: Plan) -> list[str]:
    again = plan.hardware_flops / plan.model_flops - 1
    return [
        "Computing in one step, all devices",
        _row("model FLOPs", f"{plan.model_flops / 1e12:,.3g} T"),
        _row("hardware FLOPs", f"{plan.hardware_flops / 1e12:,.3g} T ({again:+.0%}: recomputed, and the optimizer)"),
    ]


def _collectives(plan: Plan) -> list[str]:
    rows = [_row(kind, f"{gib(traffic.bytes):>12} in {traffic.count:,}") for kind, traffic in plan.traffic.items()]
    return ["Sent by one device in one step", *(rows or [_row("nothing", "")])]


def _attention(plan: Plan) -> list[str]:
    sent = plan.attention
    rows = [("as it is", sent.sent), ("tokens for heads", sent.exchange), ("gathered keys and values", sent.gather)]
    return [
        f"Of that for attention, over context {plan.mesh['context']}, and what each way of it would send",
        *(_row(name, f"{gib(size):>12}") for name, size in rows),
    ]


def _roofline(plan: Plan) -> list[str]:
    bound = plan.roofline
    return [
        "Least time of a step at published peaks",
        _row("computing", f"{bound.compute:.3f} s"),
        _row("main memory", f"{bound.hbm:.3f} s"),
        _row("links", f"{bound.links:.3f} s"),
        _row("so at least", f"{bound.seconds:.3f} s, an MFU of at most {bound.mfu_bound:.0%}"),
    ]


def _row(name: str, value: str) -> str:
    return f"  {name:<{_WIDTH}}{value}"
