"""What a row costs: FLOPs of a training step, the passes through frozen networks included."""

from collections.abc import Sequence

import ml_collections

from sr_jax.ablation.rows import CONTROL, Row, equal_flops_row
from sr_jax.ablation.work import training_config
from sr_jax.data.builder import dataset_folders, read_spec
from sr_jax.training.builders import build_stage

_STEP = 0.05
"""Steps of rows that differ by no more than this share are those of one control."""


def relative_flops(rows: Sequence[Row], config: ml_collections.ConfigDict) -> dict[str, float]:
    """FLOPs of a clip in training in times those of plain fine-tuning, by the row's name; trained rows alone.

    Model FLOPs, forwards and backwards, with the passes through frozen networks and projectors; encoders whose tokens
    the records hold cost nothing here, as they ran once.

    Raises:
        UserError: When the dataset or a workdir that a row needs is not there.
    """
    spec = read_spec(dataset_folders(config.data.dir)[0])

    def flops(row: Row) -> int:
        stage = build_stage(training_config(row, 0, config))
        return stage.work(spec.latent_shape[:3], spec.text_shape[0]).flops

    plain = flops(Row(CONTROL, "", {}))
    return {row.name: flops(row) / plain for row in rows if row.options is not None}


def controls_of_equal_flops(rows: Sequence[Row], flops: dict[str, float]) -> dict[str, Row]:
    """For each row of the table that costs more than plain fine-tuning, the control that costs as much.

    Rows of about the same cost share one, which is trained as many steps as the dearest of them needs.

    Args:
        rows: Of the suite.
        flops: Of `relative_flops`.
    """
    dear = sorted((row for row in rows if row.group == "table" and flops.get(row.name, 1.0) > 1 + _STEP / 2),
                  key=lambda row: -flops[row.name])  # fmt: skip
    controls: dict[str, Row] = {}
    for row in dear:
        near = (control for control in controls.values() if control.steps - flops[row.name] <= _STEP)
        controls[row.name] = next(near, None) or equal_flops_row(round(flops[row.name], 2))
    return controls
