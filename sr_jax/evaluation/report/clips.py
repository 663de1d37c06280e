"""Real and generated clips side by side, and clips that a training run generated on its way."""

import dataclasses

from sr_jax.evaluation.judging import DEPTH_FOLDER
from sr_jax.evaluation.report.inputs import Inputs, Training
from sr_jax.media.video import read_video
from sr_jax.pages.clips import chosen_clips, data_uri, grid
from sr_jax.teachers.depth.colours import colour_depth, read_disparity
from sr_jax.teachers.depth.files import depth_path

_SHOWN_STEPS, _SHOWN_SAMPLES = 5, 3


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a training run generated on its way.

    Attributes:
        name: Of the run.
        columns: A CSS class and a name for each step that is shown.
        video: A data URI; a row is of one first frame.
    """

    name: str
    columns: list[tuple[str, str]]
    video: str


def samples_video(training: Training) -> Samples | None:
    """The clips of a training run at some steps, evenly spaced; None where it made none.

    Shown are those that there are at all of these steps, of the size of the first one.
    """
    steps = sorted(training.videos)
    steps = [steps[place] for place in chosen_clips(len(steps), _SHOWN_STEPS)] if steps else []
    if not steps:
        return None
    names = sorted(set.intersection(*(set(training.videos[step]) for step in steps)))
    read = {name: [read_video(training.videos[step][name]) for step in steps] for name in names}
    sizes = {name: {frames.shape for frames, _ in row} for name, row in read.items()}
    alike = [name for name in names if sizes[name] == sizes[names[0]] and len(sizes[name]) == 1][:_SHOWN_SAMPLES]
    if not alike:
        return None
    rows = [[frames for frames, _ in read[name]] for name in alike]
    return Samples(training.name, [("", f"step {step}") for step in steps], data_uri(grid(rows), read[alike[0]][0][1]))


def clip_video(inputs: Inputs, clip_id: str) -> str:
    """One clip as a data URI: above, the real clip and each run's; below, the depth of each, if a judge read it.

    The depth below the real clip is the teacher's; below a run's it is what the judge reads in the generated latents.
    """
    real, fps = read_video(inputs.reference / f"{clip_id}.mp4")
    above = [real] + [read_video(run.folder / f"{clip_id}.mp4")[0] for run in inputs.runs]
    if not inputs.with_depth:
        return data_uri(grid([above]), fps)
    depth = colour_depth(read_disparity(depth_path(inputs.reference / f"{clip_id}.mp4")))
    below = [depth] + [read_video(run.folder / DEPTH_FOLDER / f"{clip_id}.mp4")[0] for run in inputs.runs]
    return data_uri(grid([above, below]), fps)
