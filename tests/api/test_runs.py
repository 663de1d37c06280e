import json
import types
from pathlib import Path

import numpy as np
import pytest

from sr_jax.api import (
    demo_models,
    evaluate_clips,
    export_lora,
    export_model,
    generate_clips,
    import_model,
    load_pipeline,
    prepare_clips,
    render_people,
    runs,
    train_stage,
)
from sr_jax.api import models as api_models
from sr_jax.demo.pretrained import files
from sr_jax.errors import UserError
from sr_jax.evaluation.results import Results
from sr_jax.generation.pipeline import ImageToVideo
from sr_jax.media.video import write_video


@pytest.fixture
def called(monkeypatch):
    """Puts in the place of what takes long something that keeps what it is given; by name."""
    calls = {}

    def replace(module, name, result=None):
        def keep(*arguments, **options):
            calls[name] = (arguments, options)
            return result

        monkeypatch.setattr(module, name, keep)
        return calls

    return replace


def test_videos_have_the_size_that_they_are_prepared_in(called, tmp_path):
    calls = called(runs, "render_clips")
    assert render_people(tmp_path, clips=3, split="test", config="prepare:smoke", seed=2) == tmp_path / "test"
    assert calls["render_clips"] == (
        (tmp_path / "test", "test"),
        {"clips": 3, "seed": 2, "size": (32, 24), "num_frames": 5, "fps": 8.0, "framing": "hips up"},
    )


def test_preparing_takes_the_config_with_its_changes(called, tmp_path):
    calls = called(runs, "prepare")
    changes = {"codec.path": tmp_path / "codec", "faces.path": "teacher"}
    assert prepare_clips("videos", tmp_path, "prepare:smoke", changes) == tmp_path
    (config, *folders), _ = calls["prepare"]
    assert folders == [Path("videos"), tmp_path]
    assert (config.codec.path, config.faces.path, config.clip.height) == (str(tmp_path / "codec"), "teacher", 32)


def test_training_gives_the_lines_of_its_log(called, tmp_path):
    calls = called(runs, "train")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert train_stage("base:smoke", str(tmp_path), {"num_train_steps": 7}) == [{"step": 1, "loss": 2.0}]
    (config, workdir), _ = calls["train"]
    assert (config.stage, config.num_train_steps, workdir) == ("base", 7, tmp_path)


def test_a_model_is_brought_in_from_a_folder(called, tmp_path):
    calls = called(api_models.releases, "import_pipeline")
    assert import_model(tmp_path, tmp_path / "model", components=["vae"], dtype="bfloat16") == tmp_path / "model"
    (source, output), options = calls["import_pipeline"]
    assert (source.folder, output) == (tmp_path, tmp_path / "model")
    assert options == {"components": ["vae"], "dtype": "bfloat16"}


def test_a_pipeline_makes_one_clip_at_a_time(called):
    pipeline = object.__new__(ImageToVideo)
    calls = called(api_models, "load_generator", types.SimpleNamespace(pipeline=pipeline))
    assert load_pipeline("w2", "sample:small", {"codec.path": "c", "num_inference_steps": 3}, step=5) is pipeline
    (checkpoint, config), options = calls["load_generator"]
    assert (checkpoint, options) == (Path("w2"), {"step": 5})
    assert (config.batch_size, config.codec.path, config.num_inference_steps) == (1, "c", 3)


def test_generating_goes_over_a_split(called, tmp_path):
    called(api_models, "load_generator", "a generator")
    calls = called(api_models, "generate_split")
    assert generate_clips("w2", "data", tmp_path / "samples", limit=3) == tmp_path / "samples"
    assert calls["load_generator"][0][::2] == (Path("w2"), Path("data"))
    assert calls["generate_split"] == (("a generator", Path("data"), "test", tmp_path / "samples"), {"limit": 3})


def test_any_two_folders_are_scored(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 24, 3), np.uint8)
    for folder in ("ours", "real"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "a.mp4", frames, 8.0, lossless=True)
    scores = evaluate_clips(tmp_path / "ours", tmp_path / "real", changes={"metrics": ["ssim"]})
    assert scores.means["generated"]["ssim"] == pytest.approx(1.0)
    assert json.loads((tmp_path / "ours/metrics.json").read_text())["means"] == scores.means


def test_clips_of_a_dataset_are_scored_as_latents(called, tmp_path):
    (tmp_path / "sampling.json").write_text("{}")
    results = object.__new__(Results)
    calls = called(runs.judging, "evaluate", results)
    assert evaluate_clips(tmp_path, "real", "evaluate:smoke", output=tmp_path / "m.json") is results
    _, folders = calls["evaluate"]
    assert folders == {"generated": tmp_path, "reference": Path("real"), "output": tmp_path / "m.json"}


def test_exports_are_those_of_the_command(called, tmp_path):
    calls = called(api_models.exports, "export_checkpoint")
    assert export_model("w2", tmp_path / "e", base="model", dtype="bfloat16") == tmp_path / "e"
    arguments, options = calls["export_checkpoint"]
    progress = options.pop("progress")
    assert progress("transformer", 9)(3) is None
    assert (arguments, options) == ((Path("w2"), tmp_path / "e"), {"base": Path("model"), "dtype": "bfloat16"})
    calls = called(api_models.exports, "export_lora")
    assert export_lora("w2", tmp_path / "l", layout="comfyui") == tmp_path / "l"
    assert calls["export_lora"] == ((Path("w2"), tmp_path / "l"), {"layout": "comfyui"})


def test_the_models_of_the_demo_lie_where_it_says(called, tmp_path):
    called(api_models, "lay_out")
    models = demo_models(tmp_path)
    written = {tmp_path / name for name in (*files.COPIED, *files.WORKDIRS)}
    assert {models.codec, models.transformer, models.modules, models.structure_judge} <= written
    assert {path.parent for path in written} >= {models.faces, models.judge} and models.faces != models.judge


def test_without_weights_the_models_of_the_demo_are_said_to_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "WEIGHTS", tmp_path / "none")
    with pytest.raises(UserError, match="pretrained models are not in this copy"):
        demo_models(tmp_path)
