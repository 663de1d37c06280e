"""The rows of the suites: the paper's Tables 2 and 3, and alignment objectives beside each other."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from sr_jax.errors import UserError

SUITES = ("paper", "objectives")
BASE, CONTROL, BOTH = "base", "control", "both"
"""Names of rows: the start itself, plain fine-tuning, and SemanticREPA."""

_STRUCTURE, _IDENTITY = 0.01, 1.0
"""lambda_S and lambda_ID of the paper."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: Its folder.
        label: What the reader calls it.
        options: What its training has beside every row's, `KEY` to value; None: the start, which is not trained.
        steps: How many times the suite's steps it is trained.
        group: "table" for the suite's own rows, "sweep" for what is tried on the first seed, "flops" for controls of
            equal FLOPs.
        paper: What the paper has in this row, by the key of a score.
    """

    name: str
    label: str
    options: Mapping[str, Any] | None
    steps: float = 1.0
    group: str = "table"
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)


def rows_of(suite: str, config: ml_collections.ConfigDict) -> list[Row]:
    """The rows of a suite, but for the controls of equal FLOPs, in the order of the table.

    Raises:
        UserError: For an unknown suite, or a config that lacks a workdir that its rows need.
    """
    if suite not in SUITES:
        raise UserError(f"no suite is called {suite!r}: choose one of {', '.join(SUITES)}")
    for name, value in (("start", config.start), ("modules.clean", config.modules.clean)):
        if not value:
            raise UserError(f"config.{name} is empty: name the workdir that the rows of the suite share")
    return _paper(config) if suite == "paper" else _objectives(config)


def _paper(config: ml_collections.ConfigDict) -> list[Row]:
    # Motion score and ID score of Table 2 (arXiv 2605.10523).
    rows = [
        Row(BASE, "base model", None, paper={"motion_score": 0.9426, "id_score": 0.5087}),
        Row(CONTROL, "fine-tuned only", {}, paper={"motion_score": 0.7481, "id_score": 0.5098}),
    ]
    if config.modules.noisy:
        noisy = _structure(config.modules.noisy)
        rows += [Row("structure_noisy", "+ L_S(zt)", noisy, paper={"motion_score": 0.4427, "id_score": 0.5751})]
    structure, identity = _structure(config.modules.clean), _identity(config)
    rows += [
        Row("structure", "+ L_S(z0_hat)", structure, paper={"motion_score": 0.5352, "id_score": 0.6118}),
        Row("identity", "+ L_ID", identity, paper={"motion_score": 0.5397, "id_score": 0.6223}),
        Row(BOTH, "+ both (SemanticREPA)", _both(config), paper={"motion_score": 0.4012, "id_score": 0.6339}),
    ]
    return rows + [row for row in _sweeps(config) if row.name in config.sweeps]


def _objectives(config: ml_collections.ConfigDict) -> list[Row]:
    options = config.objectives
    tokens = {"tokens": options.tokens, "channels": options.channels, "block": options.block}
    wide = tokens | {"projector_width": options.projector_width}
    layers = {"block": options.layersync_block, "deeper_block": options.deeper_block}
    # The published weights (docs/alignment.md).
    return [
        Row(CONTROL, "none (fine-tuned only)", {}),
        Row(BOTH, "SemanticREPA", _both(config)),
        Row("repa", "REPA", _section("repa", weight=0.5, **wide)),
        Row("trd", "VideoREPA's TRD", _section("trd", weight=0.5, **wide)),
        Row("crepa", "CREPA", _section("crepa", weight=0.5, **tokens)),
        Row("layersync", "LayerSync", _section("layersync", weight=0.2, **layers)),
    ]


def _sweeps(config: ml_collections.ConfigDict) -> list[Row]:
    rows = [
        Row(f"lambda_s_{value:g}", f"both, lambda_S {value:g}", _both(config, structure=value), group="sweep")
        for value in (0.1, 1.0)
    ]
    rows += [
        Row(f"lambda_id_{value:g}", f"both, lambda_ID {value:g}", _both(config, identity=value), group="sweep")
        for value in (0.3, 3.0)
    ]
    for weighting in ("linear", "signal"):
        options = {f"alignment.{name}.noise_weighting": weighting for name in ("structure", "identity")}
        label = f"both, weighted by {'1 - share of noise' if weighting == 'linear' else 'the share of signal'}"
        rows.append(Row(f"noise_{weighting}", label, _both(config) | options, group="sweep"))
    rows.append(Row("control_longer", "fine-tuned only, twice the steps", {}, steps=2.0, group="sweep"))
    rows.append(Row("both_longer", "both, twice the steps", _both(config), steps=2.0, group="sweep"))
    return rows


def equal_flops_row(steps: float) -> Row:
    """Plain fine-tuning for so many times the suite's steps, which costs what a row with auxiliary passes costs."""
    return Row(f"control_flops_{steps:.2f}", f"fine-tuned only, {steps:.2f} times the steps", {}, steps, "flops")


def _both(config: ml_collections.ConfigDict, structure: float = _STRUCTURE, identity: float = _IDENTITY) -> dict:
    # In this order: L_ID alone has a structure loss that counts nothing.
    return _identity(config, identity) | _structure(config.modules.clean, structure)


def _structure(module: str, weight: float = _STRUCTURE) -> dict[str, Any]:
    return _section("structure", weight=weight, module=module)


def _identity(config: ml_collections.ConfigDict, weight: float = _IDENTITY) -> dict[str, Any]:
    """L_ID; it reads what f_S predicts, whose own loss counts nothing then."""
    module = config.modules.clean
    return _section("structure", weight=0.0, module=module) | _section("identity", weight=weight, module=module)


def _section(objective: str, **options: Any) -> dict[str, Any]:
    return {f"alignment.{objective}.{name}": value for name, value in options.items()}


def seeds_of(row: Row, seeds: Sequence[int]) -> list[int]:
    """The seeds that a row is run with: all, or the first for what is only tried."""
    return list(seeds) if row.group != "sweep" else list(seeds[:1])
