"""Two runs, sampled and scored by the real code with small networks: what the report is tested on."""

import json
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from sr_jax.backbones.base import ClipSize
from sr_jax.configs.evaluate import get_config
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.evaluation import judging
from sr_jax.evaluation.judges import Judges, depth_reader
from sr_jax.evaluation.metrics.base import build_metrics
from sr_jax.evaluation.results import write_results
from sr_jax.generation.generator import Generator, generate_split
from sr_jax.generation.pipeline import ImageToVideo
from sr_jax.generation.sampler import Denoiser, SamplingSettings, sampling_function
from sr_jax.media.video import write_video
from sr_jax.models.functional import Functional
from sr_jax.parallel.placed import Placed
from tests.data.synthetic import provenance, write_synthetic_dataset
from tests.evaluation.fakes import (
    BACKBONE,
    FRAMES,
    HEIGHT,
    WIDTH,
    LetterText,
    PatchCodec,
    PullingNetwork,
    colour_faces,
    write_reference,
)

CLIPS = 5


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A dataset with a test split of `CLIPS` clips and the real clips beside it."""
    folder = tmp_path_factory.mktemp("evaluation") / "data"
    write_synthetic_dataset(folder, clips=2, test_clips=CLIPS, latent_channels=PatchCodec.latent_channels)
    write_reference(folder / "clips" / "test", [f"held_out{number:03d}" for number in range(CLIPS)])
    return folder


def make_generator(*, strength: float = 0.1, checkpoint: str = "w2", seed: int = 0, batch_size: int = 2) -> Generator:
    """A generator with the network of `fakes`."""
    network = Functional(lambda rngs: PullingNetwork())
    denoiser = Denoiser(BACKBONE, network, VPrediction(), SamplingSettings("ddim", 2, 1.0, "none"))
    made_by = {"checkpoint": checkpoint, "stage": "stage_two", "step": 7, "seed": seed, "frozen": {"structure": "w1"}}
    made_by |= {"sampler": "ddim", "num_inference_steps": 2, "guidance_scale": 1.0, "dynamic_guidance": "none"}
    pipeline = ImageToVideo(
        sampler=jax.jit(sampling_function(denoiser, num_frames=1 + (FRAMES - 1) // 4)),
        transformer=Placed({"strength": np.float32(strength)}, lambda weights: weights),
        codec=PatchCodec(),
        text=LetterText(),
        clip=ClipSize(FRAMES, HEIGHT, WIDTH, 8.0),
        image_fit="crop",
    )
    return Generator(
        pipeline=pipeline,
        provenance=provenance(latent_channels=PatchCodec.latent_channels),
        made_by=made_by,
        seed=seed,
        batch_size=batch_size,
    )


def make_judges(workdir: str = "wj") -> judging.LoadedJudges:
    """Judges of which the one for structure takes the clip for its own depth."""
    codec = PatchCodec()
    about = {
        "structure": {"workdir": workdir, "seed": 1, "step": 9},
        "face_detector": {"name": "colour_detector", "weight_hash": "d1"},
        "face_recogniser": {"name": "colour_recogniser", "weight_hash": "r1"},
        "codec": {"name": codec.name, "weight_hash": codec.weight_hash},
    }
    judges = Judges(codec, depth_reader(lambda latents: latents, codec), colour_faces())
    return judging.LoadedJudges(judges, about, {}, Path(workdir))


def make_metrics() -> dict:
    """The metrics of `configs/evaluate.py`."""
    return build_metrics(get_config("people"))


@pytest.fixture(scope="session")
def runs(data, tmp_path_factory) -> dict[str, Path]:
    """Folders of two sampled and scored runs."""
    folder = tmp_path_factory.mktemp("runs")
    folders = {}
    for name, strength in (("SemanticREPA", 0.1), ("control", 0.3)):
        folders[name] = folder / name
        generator = make_generator(strength=strength, checkpoint=str(folder / f"w_{name}"))
        generate_split(generator, data, "test", folders[name], limit=None)
        reference, depth = data / "clips" / "test", folders[name] / "depth"
        results = judging.judge_folder(make_judges(), make_metrics(), folders[name], reference, depth, batch_size=3)
        write_results(results, folders[name] / "metrics.json")
    return folders


@pytest.fixture(scope="session")
def workdirs(runs) -> dict[str, Path]:
    """Logs of the two runs' trainings and of a base run."""
    folder = next(iter(runs.values())).parent
    weights = {"SemanticREPA": 0.5, "control": 0.0, "base": None}
    paths = {}
    for name, weight in weights.items():
        paths[name] = folder / f"w_{name}"
        paths[name].mkdir(exist_ok=True)
        config = ml_collections.ConfigDict({"stage": "base", "batch_size": 8, "seed": 0})
        if weight is not None:
            alignment = {name: {"weight": weight, "module": "w1"} for name in ("structure", "identity")}
            config.update({"stage": "stage_two", "alignment": alignment})
        (paths[name] / "config.json").write_text(config.to_json())
        lines = []
        for step in range(10, 101, 10):
            line = {"step": step, "wall_time": step / 10, "loss": 1 / step, "loss/denoising": 1 / step}
            line |= {"loss/denoising/t000-500": 0.1, "loss/denoising/t500-1000": 0.2}
            lines.append(line | ({"loss/structure": 0.3, "loss/structure/t000-500": 0.4} if weight else {}))
        for step in (0, 100):
            lines.append({"step": step, "wall_time": step / 10, "heldout/loss": 0.3, "heldout/loss/denoising": 0.3})
        (paths[name] / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _write_samples(paths["control"])
    return paths


def _write_samples(workdir: Path) -> None:
    """Two sample clips at each of two steps; at the later one a third, too, and one of another size."""
    lines = []
    for step, names in ((0, ("a", "b", "wide")), (100, ("a", "b", "c", "wide"))):
        for name in names:
            path = workdir / "samples" / str(step) / f"{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, np.full((FRAMES, HEIGHT, 2 * WIDTH if name == "wide" else WIDTH, 3), step, np.uint8), 8.0)
        videos = {f"samples/{name}": f"samples/{step}/{name}.mp4" for name in names}
        lines.append(json.dumps({"step": step, "videos": videos}) + "\n")
    (workdir / "videos.jsonl").write_text("".join(lines))


@pytest.fixture
def frame_folder():
    """Writes frames as a folder of numbered pictures."""

    def write(folder: Path, frames: np.ndarray) -> None:
        folder.mkdir(parents=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"frame{number:03d}.png")

    return write
