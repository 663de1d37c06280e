"""Writes the page of results from all results files.

  python -m benchmarks.side_by_side.report

It says what is missing: parts without a measurement, and why a contestant failed.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.settings import PARTS, Settings
from benchmarks.side_by_side.turns import median
from sr_jax.parallel.chips import find_chip

_FOLDER = Path(__file__).parents[1]
_HEAD = (
    "| Part | Contestant | Seconds | Runs | To sr_jax | TFLOP/s | MFU | Peak GiB | Until the first run, s |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)
_TITLE = """# sr_jax and PyTorch side by side

Made by `python -m benchmarks.side_by_side` (its docstring says how) and `python -m benchmarks.side_by_side.report`.
Times are medians of runs taken in turn. "To sr_jax" is the time over sr_jax's, with the least and the greatest of all
pairs of neighbouring runs: above 1, sr_jax is faster. MFU counts model FLOPs alone, not what is computed twice, against
the published dense bfloat16 peak. Memory is the device's on an accelerator and the process's on a CPU. `pytorch` is
diffusers, or transformers, as they come; `pytorch_tuned` has compiled blocks and cuDNN's attention. `stage_two` is
sr_jax with both losses, through a frozen structure and identity module: what the method costs. `cached` finds what it
compiled before. Weights are random.
"""


Parts = dict[str, dict[str, Any]]
"""What was measured on one machine: of each part `machine`, `settings` and `contestants`, with the turns of each."""


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=_FOLDER / "results" / "side_by_side")
    parser.add_argument("--output", type=Path, default=_FOLDER / "RESULTS.md")
    arguments = parser.parse_args()
    results: dict[str, Parts] = {}
    for path in sorted(arguments.results.glob("*/*.json")):
        results.setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text())
    arguments.output.write_text(page(results))


def page(results: dict[str, Parts]) -> str:
    """The page in Markdown, of the results of each machine by their name."""
    sections = [_TITLE, *(_section(name, parts) for name, parts in results.items())]
    measured = {name for parts in results.values() for name, part in parts.items() if any(_rows(name, part))}
    if missing := [part.title for name, part in PARTS.items() if name not in measured]:
        sections.append("## Missing\n\nNot measured anywhere yet: " + "; ".join(missing) + ".\n")
    return "\n".join(sections)


def _section(name: str, parts: Parts) -> str:
    machines = {_machine(part) for part in parts.values()}
    lines = [f"## {name}", "", *sorted(machines), ""]
    ordered = [name for name in PARTS if name in parts]
    # Parts of one size share a table, in the order of the first of them.
    sizes = {json.dumps(parts[name]["settings"]): parts[name]["settings"] for name in ordered}
    for settings in sizes.values():
        alike = [name for name in ordered if parts[name]["settings"] == settings]
        lines += [_size(settings, alike), "", *_HEAD]
        lines += [row for name in alike for row in _rows(name, parts[name])]
        lines.append("")
    lines += [line for title, part in parts.items() for line in _failures(title, part["contestants"])]
    return "\n".join([*lines, *_appetite(parts)]) + "\n"


def _machine(part: dict[str, Any]) -> str:
    """Hardware and software, in a line."""
    machine, turns = part["machine"], [turn for each in part["contestants"].values() for turn in each]
    said = [", ".join(sorted({turn[key] for turn in turns if key in turn})) for key in ("device", "framework")]
    own = f"sr_jax {machine['sr_jax']}, Python {machine['python']}"
    return f"{said[0]}; {machine['cores']} cores of {machine['cpu']}; {said[1]}; {own}.  "


def _size(settings: dict[str, Any], parts: Sequence[str]) -> str:
    """What was computed in these parts, in a paragraph."""
    clauses = {
        "forward training sampling first_step": (
            f"{settings['layers']} of 42 blocks, {settings['heads']} of 48 heads, parameters and optimizer state in "
            f"{settings['storage']}, sr_jax's remat `{settings['remat']}`"
        ),
        "sampling": f"{settings['sampling_steps']} steps",
        "vae_encode vae_decode vae_encode_tiled vae_decode_tiled": (
            f"VAE of {settings['vae_width']} of 128 channels, tiles of {settings['tile_height']}x"
            f"{settings['tile_width']}"
        ),
        "t5": (
            f"{settings['text_layers']} of 24 blocks of T5, {settings['text_heads']} of 64 heads, "
            f"{settings['prompts']} captions at once"
        ),
        "depth": f"{settings['depth_frames']} frames of {settings['depth_input']} for the depth teacher",
    }
    said = [clause for names, clause in clauses.items() if not set(names.split()).isdisjoint(parts)]
    if settings["xla_flags"]:
        said.append(f"XLA's flags `{settings['xla_flags']}`")
    size = f"{settings['frames']} frames of {settings['height']}x{settings['width']} ({settings['tokens']:,} tokens)"
    return "; ".join([f"{size}, computed in {settings['dtype']}", *said]) + "."


def _appetite(parts: Parts) -> Iterator[str]:
    """What the input pipeline takes of a training step."""
    if "input" not in parts or "training" not in parts:
        return
    turns = parts["input"]["contestants"].get("sr_jax", [])
    seconds, step = median(turns), median(parts["training"]["contestants"].get("sr_jax", []))
    if seconds and step:
        clip = seconds / turns[-1]["clips"]
        yield f"The input pipeline reads a clip in {1000 * clip:.1f} ms: {clip / step:.2%} of a training step on one."


def _rows(part: str, result: dict[str, Any]) -> Iterator[str]:
    contestants = result["contestants"]
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
            " then ".join(f"{turn['seconds_until_first_run']:.0f}" for turn in turns[:2] if turn["seconds"]),
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
