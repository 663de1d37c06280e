"""The project as functions, for notebooks and scripts: each does what a command does, with the same configs.

A config is named `stage_two:small` (`configs/stage_two.py`, size `small`), and changed by a mapping from keys to
values, such as `{"num_train_steps": 20}`. Folders are paths or texts. Bad input is a `UserError` of one line.
"""

from sr_jax.api.machine import Accelerator, accelerator
from sr_jax.api.models import demo_models, export_lora, export_model, generate_clips, import_model, load_pipeline
from sr_jax.api.runs import evaluate_clips, prepare_clips, render_people, train_stage
from sr_jax.api.settings import load_config
from sr_jax.api.showing import Html, show_clips, show_curves, show_page

__all__ = (
    "Accelerator",
    "Html",
    "accelerator",
    "demo_models",
    "evaluate_clips",
    "export_lora",
    "export_model",
    "generate_clips",
    "import_model",
    "load_config",
    "load_pipeline",
    "prepare_clips",
    "render_people",
    "show_clips",
    "show_curves",
    "show_page",
    "train_stage",
)
