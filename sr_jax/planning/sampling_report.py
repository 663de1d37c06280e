"""A plan of sampling as text for people and as JSON for programs."""

import dataclasses
import json
from typing import Any

from sr_jax.planning.report import gib
from sr_jax.planning.sampling import Part, SamplingPlan

_MEMORY_NAMES = {
    "weights": "weights",
    "resident": "transformer, which stays",
    "inputs": "inputs, padding",
    "temporaries": "temporaries",
    "output": "output",
    "code": "program",
}
_WIDTH = 28


def to_text(plan: SamplingPlan) -> str:
    """A section for each part, the answer last."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    clip = plan.clip
    head = (
        f"{plan.topology}, mesh {mesh}: {plan.model}, {plan.clips} clips of {clip.num_frames} frames of "
        f"{clip.height}x{clip.width} at a time"
    )
    return "\n\n".join([head, *(_part(part) for part in plan.parts), verdict(plan)])


def to_json(plan: SamplingPlan) -> dict[str, Any]:
    """The plan's fields, with what follows from them."""
    totals = {"totals": {part.name: part.total for part in plan.parts}, "fits": plan.fits}
    return json.loads(json.dumps(dataclasses.asdict(plan))) | {"clip": plan.clip._asdict()} | totals


def verdict(plan: SamplingPlan) -> str:
    """Yes or no in one line."""
    largest = max(plan.parts, key=lambda part: part.total)
    need = f"{gib(largest.total)} (the {largest.name})"
    if plan.fits is None:
        return f"It compiles and needs {need} a device. The memory of these devices is not known here."
    answer = "YES, it fits" if plan.fits else "NO, it does not fit"
    return f"{answer}: {need} of the {gib(plan.capacity)} of a device ({largest.total / plan.capacity:.0%})."


def _part(part: Part) -> str:
    devices = "1 device" if part.num_devices == 1 else f"each of {part.num_devices} devices"
    how = "compiled" if part.compiled else "refused by the compiler"
    rows = [(label, getattr(part, name)) for name, label in _MEMORY_NAMES.items()]
    rows = [*((label, size) for label, size in rows if size), ("together", part.total)]
    seconds = f"{part.compile_seconds:.0f} s ({part.compile_cpu_seconds:.0f} s of CPU)"
    lines = [f"  {label:<{_WIDTH}}{gib(size)}" for label, size in rows]
    return "\n".join([f"{part.name} on {devices}: {how} in {seconds}", *lines])
