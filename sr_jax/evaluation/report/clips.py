"""Real and generated clips side by side."""

from sr_jax.evaluation.judging import DEPTH_FOLDER
from sr_jax.evaluation.report.inputs import Inputs
from sr_jax.media.video import read_video
from sr_jax.pages.clips import data_uri, grid
from sr_jax.teachers.depth.colours import colour_depth, read_disparity
from sr_jax.teachers.depth.files import depth_path


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
