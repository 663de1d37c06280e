"""What makes the pretrained models: the commands, in order."""

from pathlib import Path
from typing import NamedTuple

import ml_collections

from sr_jax.configs.prepare import get_config as prepare_config

_MEASURED = ("structure_error", "id_score", "motion_score", "psnr", "ssim", "cpbd", "face_found", "motion_magnitude")
_ADAMW = ("--config.optimizer.name=adamw", "--config.optimizer.learning_rate=2e-3")
STRUCTURE_JUDGE, SAMPLES = "structure_judge", "samples"


class Step(NamedTuple):
    """A command that makes one thing, and goes on with it where it was stopped.

    Attributes:
        name: What is made.
        module: `python -m sr_jax.MODULE`.
        arguments: Its arguments.
    """

    name: str
    module: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """As it is typed."""
        return " ".join(("python -m", f"sr_jax.{self.module}", *self.arguments))


def pretraining(config: ml_collections.ConfigDict, output: Path) -> list[Step]:
    """The steps from nothing to all pretrained models and the results that their card tells of.

    Args:
        config: See `configs/pretrain.py`.
        output: Folder of everything.
    """
    return [*_data(config, output), *_trainings(config, output), *_judges(config, output), *_samples(config, output)]


def _data(config: ml_collections.ConfigDict, output: Path) -> list[Step]:
    """The pool, the codec, the face teacher, and the records."""
    clip = prepare_config("small").clip
    size = (f"--height={clip.height}", f"--width={clip.width}", f"--frames={clip.num_frames}", f"--fps={clip.fps}")

    def render(split: str, clips: int) -> Step:
        what = (f"--output={output}/videos", f"--split={split}", f"--clips={clips}", f"--seed={config.seed}")
        return Step(f"clips of {split}", "demo.people", (*what, *size, "--framing=hips_up"))

    codec_arguments = (f"--output={output}/codec", "--config.parts=codec", f"--config.seed={config.seed}")
    codec_steps = f"--config.codec_schedule.steps={config.steps.codec}"
    prepare_arguments = (f"--input={output}/videos", f"--output={output}/data", _codec(output))
    faces = f"--config.faces.path={output}/teacher/faces"
    return [
        render("test", config.clips.test),
        render("train", config.clips.train),
        Step("codec", "demo.fit_teachers", (*_fit(config, output), *codec_arguments, codec_steps)),
        _fit_faces(config, output, "face teacher", "teacher", config.seed),
        Step("records", "prepare", ("--config=configs/prepare.py:small", *prepare_arguments, faces)),
    ]


def _trainings(config: ml_collections.ConfigDict, output: Path) -> list[Step]:
    """The transformer, and the alignment modules with their variants."""
    start, seed, steps = f"--config.init.transformer={output}/transformer", config.seed, config.steps
    noisy, flat = "--config.structure_input=noisy", "--config.identity.use_depth=False"

    def train(name: str, stage: str, folder: str, steps: int, *arguments: str) -> Step:
        return _train(output, name, stage, folder, steps, seed, *arguments)

    return [
        train("transformer", "base", "transformer", steps.transformer),
        train("f_S", "stage_one", "structure", steps.structure, start, _alone("structure")),
        train(
            "f_S of noisy latents", "stage_one", "noisy_structure", steps.structure, start, _alone("structure"), noisy
        ),
        # Apart from f_S: a step costs a sixth, and it takes more of them, with AdamW.
        train("f_ID", "stage_one", "identity", steps.identity, _alone("identity"), *_ADAMW),
        train("f_ID without depth", "stage_one", "flat_identity", steps.identity, _alone("identity"), *_ADAMW, flat),
    ]


def _judges(config: ml_collections.ConfigDict, output: Path) -> list[Step]:
    """Those of structure and of faces, with a seed of their own."""
    seed, alone = config.judge_seed, _alone("structure")
    return [
        _train(output, "structure judge", "stage_one", STRUCTURE_JUDGE, config.steps.structure_judge, seed, alone),
        _fit_faces(config, output, "face judge", "judge", seed),
    ]


def _codec(output: Path) -> str:
    return f"--config.codec.path={output}/codec/codec.safetensors"


def _fit(config: ml_collections.ConfigDict, output: Path) -> tuple[str, ...]:
    """What all parts of the teachers are fitted with."""
    return ("--config=configs/teachers.py:small", f"--videos={output}/videos", f"--config.clips={config.clips.codec}")


def _fit_faces(config: ml_collections.ConfigDict, output: Path, name: str, folder: str, seed: int) -> Step:
    steps = (f"--config.{network}_schedule.steps={config.steps[network]}" for network in ("detector", "recogniser"))
    where = (f"--output={output}/{folder}", _codec(output), "--config.parts=faces", f"--config.seed={seed}")
    return Step(name, "demo.fit_teachers", (*_fit(config, output), *where, *steps))


def _train(output: Path, name: str, stage: str, folder: str, steps: int, seed: int, *arguments: str) -> Step:
    where = (f"--config=configs/{stage}.py:small", f"--workdir={output}/{folder}")
    how = (f"--config.data.dir={output}/data", f"--config.num_train_steps={steps}", f"--config.seed={seed}")
    return Step(name, "train", (*where, *how, *arguments))


def _alone(module: str) -> str:
    return f"--config.train_modules=('{module}',)"


def _samples(config: ml_collections.ConfigDict, output: Path) -> list[Step]:
    """What the transformer generates for held-out people, and how that scores."""
    codec = _codec(output)
    sample = (f"--checkpoint={output}/transformer", f"--data={output}/data", "--split=test")
    judges = (f"--config.faces.path={output}/judge/faces", f"--config.structure={output}/{STRUCTURE_JUDGE}")
    clips = (f"--generated={output}/{SAMPLES}", f"--reference={output}/data/clips/test")
    return [
        Step(
            "samples",
            "sample",
            (
                "--config=configs/sample.py:small",
                *sample,
                f"--output={output}/{SAMPLES}",
                f"--limit={config.sampled_clips}",
                codec,
            ),
        ),
        Step(
            "scores",
            "evaluate",
            (
                "--config=configs/evaluate.py:small",
                *clips,
                f"--output={output}/scores.json",
                codec,
                *judges,
                f"--config.metrics={_MEASURED}",
            ),
        ),
    ]
