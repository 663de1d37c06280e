"""The model card as a page: what `card.json` says, for people."""

from collections.abc import Iterable, Mapping
from typing import Any

_INTRODUCTION = """# Model card: the demo's pretrained models

Small networks for clips of rendered people, seen from head to hips: a video codec, a diffusion transformer, the
alignment modules f_S and f_ID with the variants of the paper's ablations, a face teacher, and the judges of structure
and of faces, which are other networks than the teachers. They are there to show and to test the method;
they know nothing but rendered people and are of no use on photographs.

Nobody's data went into them: people, clothes, motions and rooms are drawn by `python -m sr_jax.demo.people`. They carry
the licence of the code. One command makes such models anew; what was run for these stands below:

    python -m sr_jax.demo.pretrain --config configs/pretrain.py:small --output PRETRAINING

This page is written by that command from `card.json`, which it writes too."""


def card_text(card: Mapping[str, Any]) -> str:
    """The page, in Markdown.

    Args:
        card: See `shipping.make_card`.
    """
    sections = {
        "Data": _data(card["data"]),
        "Quality on held-out people": _quality(card["quality"]),
        "Commands and time": "\n\n".join(filter(None, (_commands(card["steps"]), card["remarks"].strip()))),
        "Files": _files(card["files"]),
        "Made with": ", ".join(f"{name} {value}" for name, value in card["made_with"].items()) + ".",
    }
    return "\n\n".join([_INTRODUCTION, *(f"## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


def _table(titles: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(titles), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _data(data: Mapping[str, Any]) -> str:
    def motions(split: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {count}" for name, count in split["motions"].items())

    rows = ((name, split["clips"], split["people"], motions(split)) for name, split in data.items())
    unseen = ", ".join(data["test"]["held_out_motions"])
    return (
        f"{_table(('split', 'clips', 'people', 'motions'), rows)}\n\n"
        f"Test people are in no training clip, nor are the motions {unseen}."
    )


def _quality(quality: Mapping[str, Any]) -> str:
    return _table(("model", "measure", "value"), _measures(quality))


def _measures(quality: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    """Every number with the model and the measure it is of."""
    for model, measured in quality.items():
        if not isinstance(measured, Mapping):
            yield model, "", _number(measured)
            continue
        for names, value in _leaves(measured):
            yield model, ", ".join(names), _number(value)


def _leaves(tree: Mapping[str, Any]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from (((name, *names), leaf) for names, leaf in _leaves(value))
        else:
            yield (name,), value


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _commands(steps: Iterable[Mapping[str, Any]]) -> str:
    steps = list(steps)
    rows = [(step["name"], step["hours"], step["cpu_hours"]) for step in steps]
    total = ("all", *(round(sum(row[column] for row in rows), 2) for column in (1, 2)))
    commands = "\n".join(f"    {step['command']}" for step in steps)
    return (
        f"{_table(('step', 'hours', 'hours of CPU'), [*rows, total])}\n\n"
        f"On two CPU cores, which other work used too.\n\n{commands}"
    )


def _files(files: Mapping[str, Any]) -> str:
    return _table(
        ("file", "kB", "sha256"), ((name, round(file["bytes"] / 1e3), file["sha256"]) for name, file in files.items())
    )
