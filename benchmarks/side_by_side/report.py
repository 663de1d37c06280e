"""Writes the page of results from all results files.

  python -m benchmarks.side_by_side.report

It says what is missing: parts without a measurement, and why a contestant failed.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.settings import PARTS, Settings
from benchmarks.side_by_side.turns import median
from sr_jax.parallel.chips import find_chip

_FOLDER = Path(__file__).parents[1]
_TITLE = """# sr_jax and PyTorch side by side

Made by `python -m benchmarks.side_by_side` (its docstring says how) and `python -m benchmarks.side_by_side.report`.
Times are medians of runs taken in turn. "To sr_jax" is the time over sr_jax's, with the least and the greatest of all
pairs of neighbouring runs: above 1, sr_jax is faster. MFU counts model FLOPs alone, not what is computed twice, against
the published dense bfloat16 peak. Memory is the device's on an accelerator and the process's on a CPU. `pytorch` is
diffusers, or transformers, as they come; `pytorch_tuned` has compiled blocks and cuDNN's attention. `stage_two` is
sr_jax with both losses, through a frozen structure and identity module: what the method costs. Weights are random.
"""


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=_FOLDER / "results" / "side_by_side")
    parser.add_argument("--output", type=Path, default=_FOLDER / "RESULTS.md")
    arguments = parser.parse_args()
    results = {path.stem: json.loads(path.read_text()) for path in sorted(arguments.results.glob("*.json"))}
    arguments.output.write_text(page(results))


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page in Markdown, of the results by name."""
    sections = [_TITLE, *(_section(name, result) for name, result in results.items())]
    measured = {name for result in results.values() for name in result["parts"] if any(_rows(name, result))}
    if missing := [part.title for name, part in PARTS.items() if name not in measured]:
        sections.append("## Missing\n\nNot measured anywhere yet: " + "; ".join(missing) + ".\n")
    return "\n".join(sections)


def _section(name: str, result: dict[str, Any]) -> str:
    settings, machine = result["settings"], result["machine"]
    turns = [turn for part in result["parts"].values() for each in part.values() for turn in each]
    devices, frameworks = (
        ", ".join(sorted({turn[key] for turn in turns if key in turn})) for key in ("device", "framework")
    )
    size = f"{settings['frames']} frames of {settings['height']}x{settings['width']} ({settings['tokens']:,} tokens)"
    lines = [
        f"## {name}",
        "",
        f"{devices}; {machine['cores']} cores of {machine['cpu']}; {frameworks}; Python {machine['python']}.",
        f"{settings['layers']} of 42 blocks, {settings['heads']} of 48 heads, {size}, computed in {settings['dtype']};",
        f"trained parameters and optimizer state in {settings['storage']}; sr_jax's remat is `{settings['remat']}`;",
        f"sampling in {settings['sampling_steps']} steps; {settings['text_layers']} of 24 blocks of T5."
        + (f" XLA's flags: `{settings['xla_flags']}`." if settings["xla_flags"] else ""),
        "",
        "| Part | Contestant | Seconds | Runs | To sr_jax | TFLOP/s | MFU | Peak GiB | Until the first run, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    failures = []
    for part in result["parts"]:
        lines += list(_rows(part, result))
        failures += list(_failures(part, result["parts"][part]))
    return "\n".join([*lines, "", *failures]) + "\n"


def _rows(part: str, result: dict[str, Any]) -> Iterator[str]:
    contestants = result["parts"][part]
    names = list(contestants)
    for name, turns in contestants.items():
        seconds = median(turns)
        if seconds is None:
            continue
        last = turns[-1]
        flops = _flops(part, result["settings"], last)
        rate = flops / seconds if flops else None
        chip = find_chip(last.get("device", ""))
        cells = [
            PARTS[part].title if name == names[0] else "",
            name,
            f"{seconds:.3g}",
            str(sum(len(turn["seconds"]) for turn in turns)),
            "" if name == names[0] else _ratio(contestants[names[0]], turns),
            f"{rate / 1e12:.3g}" if rate else "",
            f"{rate / chip.flops:.1%}" if rate and chip else "",
            f"{last['peak_gib']:.1f}" if "peak_gib" in last else "",
            " then ".join(f"{turn['seconds_until_first_run']:.0f}" for turn in turns if turn["seconds"]),
        ]
        yield f"| {' | '.join(cells)} |"


def _failures(part: str, contestants: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    for name, turns in contestants.items():
        errors = {turn["error"] for turn in turns if "error" in turn}
        if not turns:
            errors = {"not begun, the time was over"}
        yield from (f"- {PARTS[part].title}, {name}: {error}" for error in sorted(errors))


def _ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """Their time over ours: of the medians, and the least and the greatest of pairs."""
    pairs = [
        b / a
        for our, their in zip(ours, theirs, strict=False)
        for a, b in zip(our["seconds"], their["seconds"], strict=False)
    ]
    if not pairs:
        return ""
    return f"{median(theirs) / median(ours):.2f} ({min(pairs):.2f} to {max(pairs):.2f})"


def _flops(part: str, settings: dict[str, Any], turn: dict[str, Any]) -> float | None:
    """Model FLOPs of a run."""
    known = {field.name for field in dataclasses.fields(Settings)}
    forward = Settings(**{name: value for name, value in settings.items() if name in known}).forward_flops
    by_part = {"forward": forward, "training": 3 * forward, "sampling": 2 * settings["sampling_steps"] * forward}
    return turn.get("flops", by_part.get(part))


if __name__ == "__main__":
    main()
