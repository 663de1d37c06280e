"""What takes long: rendering, preparing, training, scoring. Each goes on where it was when it is called again."""

from pathlib import Path
from typing import Any

from sr_jax.api.live import live_curves
from sr_jax.api.settings import Changes, load_config
from sr_jax.checkpoints.logs import read_metrics
from sr_jax.demo.people.pool import render_clips
from sr_jax.evaluation import judging
from sr_jax.evaluation.files import evaluate_files
from sr_jax.evaluation.results import RESULTS_FILE, Results
from sr_jax.generation.clip_folder import SETTINGS_FILE
from sr_jax.preparation.running import prepare
from sr_jax.training.loop import train


def render_people(
    output: str | Path, *, clips: int, split: str = "train", config: str = "prepare:small", seed: int = 0
) -> Path:
    """Renders clips of invented people with their true depth, as videos to prepare; those that are there are kept.

    Args:
        output: Folder of videos; this split goes to a folder in it.
        clips: How many there are to be.
        split: "train" or "test", which have other people.
        config: What they are to be prepared with, whose size they have.
        seed: Another one gives other clips.

    Returns:
        The folder of the split.

    Raises:
        UserError: When the folder holds clips made otherwise.
    """
    clip, folder = load_config(config).clip, Path(output) / split
    size = (clip.height, clip.width)
    render_clips(
        folder, split, clips=clips, seed=seed, size=size, num_frames=clip.num_frames, fps=clip.fps, framing="hips up"
    )
    return folder


def prepare_clips(
    videos: str | Path, output: str | Path, config: str = "prepare:small", changes: Changes | None = None
) -> Path:
    """Cuts videos into clips, and makes the latents and the teachers' features that training reads.

    Args:
        videos: Folder of videos; folders `train` and `test` in it become splits.
        output: Folder of the dataset; `preview.html` in it shows what became of some clips.
        config: What to make; see `configs/prepare.py`.
        changes: Keys of it that are to have other values, such as `codec.path` and `faces.path`.

    Returns:
        `output`.

    Raises:
        UserError: For bad videos, or an output that was begun with other videos or settings.
    """
    prepare(load_config(config, changes), Path(videos), Path(output))
    return Path(output)


def train_stage(
    config: str, workdir: str | Path, changes: Changes | None = None, *, live: bool = False
) -> list[dict[str, Any]]:
    """Trains a stage, from where its workdir stands to its last step.

    Args:
        config: Which stage and size, such as `stage_two:small`.
        workdir: Folder for checkpoints and logs.
        changes: Keys that are to have other values; `data.dir` is the dataset.
        live: Whether the cell of a notebook shows the curves as they grow, in place of lines of text.

    Returns:
        The lines of the log: `step`, `wall_time` in seconds, `loss/...` and others.

    Raises:
        UserError: When dataset, checkpoints and config do not fit each other.
        DivergedError: When the loss stays no finite number.
    """
    loaded, workdir = load_config(config, changes), Path(workdir)
    if live:
        with live_curves(workdir):
            train(loaded, workdir)
    else:
        train(loaded, workdir)
    return read_metrics(workdir)


def evaluate_clips(
    generated: str | Path,
    reference: str | Path,
    config: str = "evaluate:clips",
    changes: Changes | None = None,
    *,
    output: str | Path | None = None,
) -> Results:
    """Scores generated clips against real ones.

    Args:
        generated: What `generate_clips` wrote, or any folder of videos.
        reference: The real clips: `DATA/clips/SPLIT` of the dataset, or any folder of videos of the same names.
        config: What is measured, and by whom; see `configs/evaluate.py`.
        changes: Keys of it that are to have other values.
        output: JSON file to write; `metrics.json` in `generated` when None.

    Returns:
        The results; `means` has the mean of each score of the `generated` clips, and of the real ones.

    Raises:
        UserError: When folders, clips and judges do not fit each other.
    """
    generated, loaded = Path(generated), load_config(config, changes)
    output = Path(output) if output is not None else generated / RESULTS_FILE
    folders = {"generated": generated, "reference": Path(reference), "output": output}
    if (generated / SETTINGS_FILE).is_file():
        return judging.evaluate(loaded, **folders)
    return evaluate_files(loaded, **folders, table=None)
