"""What a row of a seed runs: this project's own commands, each with its own folder and its own end."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from sr_jax import command_line
from sr_jax.ablation.rows import Row
from sr_jax.configs.evaluate import KEYS as EVALUATE_KEYS
from sr_jax.configs.sample import KEYS as SAMPLE_KEYS
from sr_jax.configs.training import keys_of as train_keys
from sr_jax.data.clips import CLIPS_FOLDER
from sr_jax.evaluation.results import RESULTS_FILE

WORKDIR, SAMPLES, COMMANDS_FILE = "workdir", "samples", "commands.json"
"""In the folder of a row and seed: training, generated clips with their scores, and what made them."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One row with one seed.

    Attributes:
        row: The row.
        seed: The seed.
        folder: Where all of it is written.
        steps: Of its training; 0 for the start.
        commands: Modules of this package with their arguments, in order; each goes on where it was stopped.
    """

    row: Row
    seed: int
    folder: Path
    steps: int
    commands: tuple[tuple[str, ...], ...]

    @property
    def samples(self) -> Path:
        """The generated clips and their scores."""
        return self.folder / SAMPLES

    @property
    def workdir(self) -> Path:
        """Of its training; of the start there is none here."""
        return self.folder / WORKDIR

    @property
    def is_done(self) -> bool:
        """Whether its clips are scored, which is the last that it does."""
        return (self.samples / RESULTS_FILE).is_file()

    def described(self) -> dict[str, Any]:
        """What must be the same for it to be the same task."""
        return {"row": self.row.name, "seed": self.seed, "commands": [list(command) for command in self.commands]}

    def differs_from_before(self) -> bool:
        """Whether its folder is of another task."""
        path = self.folder / COMMANDS_FILE
        return path.is_file() and json.loads(path.read_text()) != self.described()


def make_task(row: Row, seed: int, config: ml_collections.ConfigDict, output: Path) -> Task:
    """The task of a row and a seed."""
    folder = output / row.name / f"seed{seed}"
    checkpoint = config.start if row.options is None else str(folder / WORKDIR)
    steps = 0 if row.options is None else round(row.steps * config.num_train_steps)
    commands = (
        [] if row.options is None else [("train", *train_arguments(row, seed, config), f"--workdir={checkpoint}")]
    )
    samples, reference = folder / SAMPLES, Path(config.data.dir) / CLIPS_FOLDER / config.data.split
    sampling = {"codec.path": config.codec, "seed": seed}
    commands.append(
        (
            "sample",
            *_arguments(config.sample, config.sample_options, sampling),
            f"--checkpoint={checkpoint}",
            f"--data={config.data.dir}",
            f"--split={config.data.split}",
            f"--limit={config.clips}",
            f"--output={samples}",
        )
    )
    commands.append(("evaluate", *evaluate_arguments(config), f"--generated={samples}", f"--reference={reference}"))
    return Task(row, seed, folder, steps, tuple(commands))


def train_arguments(row: Row, seed: int, config: ml_collections.ConfigDict) -> list[str]:
    """The flags of a row's training, without its workdir."""
    steps = round(row.steps * config.num_train_steps)
    own = {"data.dir": config.data.dir, "init.transformer": config.start, "seed": seed, "num_train_steps": steps}
    own |= {"keep_checkpoints": 1, "alignment.structure.weight": 0.0, "alignment.identity.weight": 0.0}
    return _arguments(config.train, config.train_options, own | dict(row.options or {}))


def evaluate_arguments(config: ml_collections.ConfigDict) -> list[str]:
    """The flags of the evaluation that say how, and not what."""
    judges = {"structure": config.judges.structure, "faces.path": config.judges.faces}
    judges |= {"body_parts.path": config.judges.body_parts, "codec.path": config.codec}
    own = {"metrics": tuple(config.metrics)} | judges
    return _arguments(config.evaluate, config.evaluate_options, own)


def _arguments(config: str, further: Sequence[str], own: Mapping[str, Any]) -> list[str]:
    """Ours before the user's own, which count where both say something."""
    return [f"--config={config}", *(f"--config.{key}={value}" for key, value in own.items()),
            *(f"--config.{option.removeprefix('--config.')}" for option in further)]  # fmt: skip


def training_config(row: Row, seed: int, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The whole config of a row's training.

    Raises:
        UserError: For options that training does not have.
    """
    return _parsed(train_arguments(row, seed, config), train_keys)


def evaluation_config(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The whole config of the evaluation.

    Raises:
        UserError: For options that evaluation does not have.
    """
    return _parsed(evaluate_arguments(config), lambda _: EVALUATE_KEYS)


def check_commands(rows: Sequence[Row], config: ml_collections.ConfigDict) -> None:
    """Checks the configs of all rows' commands before anything is run.

    Raises:
        UserError: For options that one of the commands does not have.
    """
    for row in rows:
        if row.options is not None:
            training_config(row, 0, config)
    evaluation_config(config)
    _parsed(_arguments(config.sample, config.sample_options, {"codec.path": config.codec}), lambda _: SAMPLE_KEYS)


def _parsed(arguments: Sequence[str], keys_of: command_line.KeysOf) -> ml_collections.ConfigDict:
    values, argv = flags.FlagValues(), ["", *arguments]
    config_flags.DEFINE_config_file("config", None, "As of the command.", flag_values=values, sys_argv=argv)
    command_line.parse(values, argv, keys_of=keys_of)
    return values.config
