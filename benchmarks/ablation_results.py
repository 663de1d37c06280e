"""Writes RESULTS.md: what holds, with what confidence, what does not, and what was tried to find out why.

  python -m benchmarks.ablation_results --page README.md

Every number is from a committed file: benchmarks/results/ablation/paper.json and objectives.json, the `results.json` of
`python -m sr_jax.ablate`; diagnosis.json of `python -m sr_jax.diagnose`; and benchmarks/results/body_part_judge.json.
What is not there is not spoken of; without the results of any suite nothing is written. The reading of the numbers, in
a person's words, is benchmarks/results/ablation/reading.md, if there is one. The page gets the table of the paper's
suite, between its markers.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import publish
from sr_jax.ablation.report import TITLES, comparison_table, headline, sweep_table, values_table
from sr_jax.errors import UserError
from sr_jax.evaluation.bootstrap import LEVEL
from sr_jax.evaluation.metrics.base import Score
from sr_jax.evaluation.report.words import BETTER, DIRECTIONS, UNDECIDED, number
from sr_jax.outputs import write_text

FOLDER = Path(__file__).parent / "results" / "ablation"
"""Of the committed results."""
_SUITES = ("paper", "objectives")
_DASH = "\N{EN DASH}"


def write(folder: Path, output: Path) -> None:
    """Writes the page.

    Args:
        folder: Of the results.
        output: File to write.

    Raises:
        UserError: When there are no results of any suite.
    """
    suites = {name: json.loads(path.read_text()) for name in _SUITES if (path := folder / f"{name}.json").is_file()}
    if not suites:
        raise UserError(
            f"no results of a suite in {folder}: run python -m sr_jax.ablate and keep its results.json there"
        )
    parts = [
        "# Results",
        "Written by `python -m benchmarks.ablation_results` from the files that it names. What stands under "
        '"In words" is a person\'s reading, with figures taken by hand from the tables below it.',
    ]
    if (reading := folder / "reading.md").is_file():
        parts.append(reading.read_text().strip())
    for name, results in suites.items():
        parts += suite_section(name, results)
    if (path := folder / "diagnosis.json").is_file():
        parts += diagnosis_section(json.loads(path.read_text()))
    if (path := folder.parent / "body_part_judge.json").is_file():
        parts += judge_section(json.loads(path.read_text()))
    write_text(output, "\n\n".join(parts) + "\n")


def suite_section(name: str, results: Mapping[str, Any]) -> list[str]:
    """Values, claims and everything else that a suite measured."""
    scores = {item["key"]: Score(**item) for item in results["metrics"]}
    table = [row for row in results["rows"] if row["group"] == "table"]
    values = values_table(table, scores, results["real"])
    claimed = dict.fromkeys(claim["score"] for claim in results["claims"])
    hardware, versions = results["hardware"], results["versions"]
    parts = [
        f"## {TITLES[name]}",
        headline(results, scores),
        f"From `{name}.json`: {len(results['seeds'])} seeds ({', '.join(map(str, results['seeds']))}), "
        f"{results['clips']} held-out clips of {results['groups']} {results['group_name']}; "
        f"{hardware['devices']} {hardware['device']}, {hardware['machine']}; "
        f"{', '.join(f'{package} {version}' for package, version in versions.items())}. Config: "
        f"`{json.dumps(results['config'])}`.",
        markdown_table(
            ["row", *(f"{paper}, paper" for paper in values["papers"]), *(head["label"] for head in values["heads"])],
            [[row["label"], *row["paper"], *row["numbers"]] for row in values["rows"]],
        ),
        f"Against fine-tuning alone: differences of each clip averaged over the seeds, with {LEVEL:.0%} bootstrap "
        "intervals by person, and the standard deviation over seeds. Verdicts are after Holm's correction over all "
        "claims.",
    ]
    for key in [*claimed, *(key for key, score in scores.items() if score.direction and key not in claimed)]:
        parts += [
            f"**{scores[key].label}** ({comparison_table(results, scores[key])['direction']}"
            f"{'' if key in claimed else '; by itself, without correction'})",
            differences_table(comparison_table(results, scores[key])["rows"]),
        ]
    if identity := results.get("identity"):
        parts += ["### f_ID with and without depth (Table 3)", identity_table(identity)]
    if tried := sweep_table(results, scores):
        cells = [
            [
                row["label"],
                *(_DASH if cell is None else f"{cell['estimate']} ({cell['ends']})" for cell in row["cells"]),
            ]
            for row in tried["rows"]
        ]
        parts += ["### Tried on one seed", markdown_table(["row", *tried["heads"]], cells)]
    return parts


def short_table(results: Mapping[str, Any]) -> str:
    """The rows of a suite in the scores of its claims alone; a star where a claim of being better holds."""
    scores = {item["key"]: Score(**item) for item in results["metrics"]}
    keys = list(dict.fromkeys(claim["score"] for claim in results["claims"]))
    held = {(claim["row"], claim["score"]) for claim in results["claims"] if claim["verdict"] == BETTER}
    heads = [f"{scores[key].label} ({DIRECTIONS[scores[key].direction]})" for key in keys]
    rows = [
        [
            row["label"],
            *(f"{number(scores[key], row['means'][key])}{' *' * ((row['name'], key) in held)}" for key in keys),
        ]
        for row in results["rows"]
        if row["group"] == "table"
    ]
    real = ["real clips through the codec", *(number(scores[key], results["real"][key]) for key in keys)]
    return markdown_table(["", *heads], [*rows, real])


def differences_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One score: every row against the control, at equal steps and at equal FLOPs."""
    heads = [
        "row",
        "FLOPs",
        "equal steps",
        "seeds ±",
        "of what there is to gain",
        "corrected p",
        "verdict",
        "equal FLOPs",
    ]
    return markdown_table(
        heads,
        [
            [
                row["label"],
                row["flops"],
                *_cells(row["effect"]),
                "" if row["equal_flops"] is None else _short(row["equal_flops"]),
            ]
            for row in rows
        ],
    )


def _cells(cell: Mapping[str, Any] | None) -> list[str]:
    if cell is None:
        return [_DASH] * 5
    verdict = f"{cell['chip']}: {cell['visible']}" if cell["kind"] == UNDECIDED else cell["chip"]
    shown = (cell["deviation"], cell["gain"], cell["p_value"])
    return [f"{cell['estimate']} ({cell['ends']})", *(value or _DASH for value in shown), verdict]


def _short(cell: Mapping[str, Any]) -> str:
    return f"{cell['estimate']} ({cell['ends']}), {cell['chip']}"


def identity_table(identity: Mapping[str, Mapping[str, Any]]) -> str:
    """Table 3: how far f_ID keeps people apart."""
    paper = {"with depth": "0.0882", "without depth": "0.0597"}
    rows = [
        [name, *(_decimals(item[key], 4) for key in ("between", "within", "apart", "auc")), paper[name]]
        for name, item in identity.items()
    ]
    return markdown_table(["f_ID", "between people", "within one", "apart", "AUC", "apart, paper"], rows)


def diagnosis_section(diagnosis: Mapping[str, Any]) -> list[str]:
    """How good the modules are on `z0_hat`, and how the losses' gradients lie to each other."""
    readings = [
        [
            f"{item['share']:.0%}", f"{item['structure_explained']:.1%}", _decimals(item["auc"], 3),
            _decimals(item["apart"], 3), _decimals(item["identity_cosine"], 3),
        ]
        for item in diagnosis["readings"]
    ]  # fmt: skip
    names = list(diagnosis["gradients"][0]["weights"])
    pairs = list(diagnosis["gradients"][0]["cosines"])
    gradients = [
        [
            f"{item['low']:.0%} to {item['high']:.0%}",
            *(_decimals(item["weights"][name] * item["norms"][name], 3) for name in names),
            *(_decimals(item["cosines"][pair], 2) for pair in pairs),
        ]
        for item in diagnosis["gradients"]
    ]
    return [
        "## Why: what the modules read, and how the gradients lie",
        f"From `diagnosis.json`, of the transformer in `{diagnosis['config']['init']['transformer']}`, on "
        f"{diagnosis['clips']} held-out clips. What f_S explains of the variance of d0, and how f_ID keeps people "
        "apart, in z0_hat at shares of noise (0%: in the clean latents):",
        markdown_table(["noise", "f_S explains", "f_ID: AUC", "apart", "cosine to f"], readings),
        "Length of each loss's gradient times its weight, and cosines between gradients "
        f"({diagnosis['batches']} batches):",
        markdown_table(["noise", *names, *(f"cos({pair})" for pair in pairs)], gradients),
    ]


def judge_section(result: Mapping[str, Any]) -> list[str]:
    """The judge of body parts on clips that are deformed on purpose."""
    keys = list(next(iter(result["arms"].values()))[0]["judged"])
    rows = [
        [
            name,
            f"{item['dose']:.0%}",
            *(f"{_decimals(item['judged'][key], 2)} ({_decimals(item['exact'][key], 2)})" for key in keys),
        ]
        for name, items in result["arms"].items()
        for item in items
    ]
    parts = [
        "## The judge of body parts, on clips that are deformed on purpose",
        f"From `body_part_judge.json`: {result['clips']} held-out clips of {result['people']} people; mean "
        f"intersection over union of the judge's parts {result['judge']['iou']:.2f}. As the judge sees it, and in "
        "brackets with exact maps of parts:",
        markdown_table(["deformation", "frames", *(key.replace("_", " ") for key in keys)], rows),
    ]
    if faces := result.get("faces"):
        rows = [[f"{item['dose']:.0%}", _decimals(item["id_score"], 3)] for item in faces]
        parts += [
            "ID score where the face is exchanged with another person's:",
            markdown_table(["frames", "ID score"], rows),
        ]
    return parts


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["-"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _decimals(value: float | None, digits: int) -> str:
    return _DASH if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("RESULTS.md"))
    parser.add_argument("--page", type=Path, help="page that gets the short table")
    args = parser.parse_args()
    write(FOLDER, args.output)
    if args.page:
        publish(args.page, "paper_suite", short_table(json.loads((FOLDER / "paper.json").read_text())))
