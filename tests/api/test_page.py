"""The examples of docs/python.md run from top to bottom: configs, keys and paths are real, what takes long is not."""

import json

import numpy as np
import pytest

from sr_jax.api import models as api_models
from sr_jax.api import runs
from sr_jax.evaluation.results import Results
from sr_jax.media.video import write_video
from tests.documentation import ROOT, blocks
from tests.evaluation.conftest import make_generator
from tests.evaluation.fakes import FRAMES, HEIGHT, WIDTH


def _render(folder, split, *, clips, **_):
    folder.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for number in range(clips):
        write_video(folder / f"{number:06d}.mp4", frames, 8.0, lossless=True)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Runs every block of the page; gives what it left, and what was trained, prepared, sampled and scored."""
    asked = []

    def train(config, workdir):
        asked.append((config.stage, config.num_train_steps, config.data.dir, config.init.to_dict()))
        workdir.mkdir()
        losses = {"loss/denoising": 0.5, "loss/structure": 0.25}
        (workdir / "metrics.jsonl").write_text(json.dumps({"step": 1, "wall_time": 1.0} | losses) + "\n")

    def evaluate(config, *, generated, reference, output):
        asked.append(("judges", config.structure, config.faces.path, str(reference)))
        return Results([], [], {"generated": {"psnr": 20.0}}, {}, {})

    def generate_split(generator, data, split, output, *, limit):
        output.mkdir()
        (output / "sampling.json").write_text("{}")

    def load_generator(checkpoint, config, *_, **__):
        asked.append(("sampled", str(checkpoint), config.codec.path))
        return make_generator(batch_size=1)

    models = {"lay_out": lambda folder: None, "load_generator": load_generator, "generate_split": generate_split}
    monkeypatch.chdir(tmp_path)
    for module, stand_ins in {
        runs: {"train": train, "render_clips": _render, "prepare": lambda config, source, output: output.mkdir()},
        runs.judging: {"evaluate": evaluate},
        api_models: models,
        api_models.exports: {"export_checkpoint": lambda checkpoint, output, **_: output.mkdir()},
    }.items():
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(module, name, stand_in)
    names = {}
    for block in blocks(ROOT / "docs/python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    return names, asked


def test_the_examples_of_the_page_run(page, tmp_path):
    names, asked = page
    assert names["clip"].shape == (FRAMES, HEIGHT, WIDTH, 3)
    data = ("data", {"transformer": "", "modules": "models/modules"})
    assert asked[1][:3] == ("stage_one", 20, data[0]) and asked[1][3].items() >= data[1].items()
    assert asked[2][:3] == ("stage_two", 20, data[0]) and asked[2][3]["transformer"] == "models/transformer"
    assert asked[3:] == [
        ("sampled", "two", "models/codec.safetensors"),
        ("judges", "models/structure_judge", "models/judge", "data/clips/test"),
    ]
    assert len([*(tmp_path / "videos/train").iterdir()]) == 16 and len([*(tmp_path / "videos/test").iterdir()]) == 4
    assert names["folder"].is_dir()
