import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from sr_jax import command_line, evaluate, sample
from sr_jax.errors import UserError
from sr_jax.evaluation import judging
from sr_jax.generation import generator
from tests.evaluation.conftest import data, make_generator, make_judges, runs

__all__ = ("data", "runs")

PEOPLE = "configs/evaluate.py:people"


def _sample(monkeypatch, *arguments: str, load=lambda *_, **__: make_generator(batch_size=2)) -> None:
    monkeypatch.setattr(generator, "load_generator", load)
    sample.FLAGS.unparse_flags()
    for name in ("image", "prompt", "prompts", "frames", "data", "split", "limit", "step"):
        sample.FLAGS[name].unparse()
    command_line.parse(sample.FLAGS, ["sample", "--checkpoint=w2", *arguments], config=sample.CONFIG)
    sample.main(sample.FLAGS)


def test_sample_wants_one_clip_or_a_dataset(monkeypatch, tmp_path):
    for arguments in (
        [],
        ["--image=a.png"],
        ["--prompt=a"],
        ["--image=a.png", "--prompt=a", "--data=d"],
        ["--prompts=p.csv", "--data=d"],
        ["--prompts=p.csv", "--prompt=a"],
    ):
        with pytest.raises(UserError, match="either --image with --prompt, or --prompts, or --data"):
            _sample(monkeypatch, f"--output={tmp_path / 'o'}", *arguments)
    with pytest.raises(UserError, match=r"ends in \.mp4"):
        _sample(monkeypatch, f"--output={tmp_path / 'o'}", "--image=a.png", "--prompt=a")
    assert not (tmp_path / "o").exists()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=r"folder\.mp4 must be a file"):
        _sample(monkeypatch, f"--output={tmp_path / 'folder.mp4'}", "--image=a.png", "--prompt=a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image=missing.png", "--prompt=a"), "no image file missing.png"),
        (("--data=missing",), "missing"),
        (("--data={data}", "--split=tset"), "has no split 'tset'"),
        (("--prompts=missing.csv",), r"--prompts missing\.csv cannot be read"),
        (("--data={data}", "--frames=9"), "clips of --data are as long as the dataset's"),
    ],
)
def test_sample_tells_of_a_missing_file_before_it_loads_the_model(monkeypatch, tmp_path, data, arguments, words):
    arguments = [argument.format(data=data) for argument in arguments]

    def load(*_, **__):
        raise AssertionError("the model is loaded")

    with pytest.raises(UserError, match=words):
        _sample(monkeypatch, f"--output={tmp_path / 'o.mp4'}", *arguments, load=load)


@pytest.mark.parametrize("kind", [("--image={image}", "--prompt=a"), ("--data={data}",)])
def test_sample_tells_of_a_folder_that_cannot_be_written_before_it_loads_the_model(monkeypatch, tmp_path, data, kind):
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    arguments = [argument.format(data=data, image=tmp_path / "image.png") for argument in kind]

    def load(*_, **__):
        raise AssertionError("the model is loaded")

    with pytest.raises(UserError, match=r"cannot write to .*image\.png is not a folder"):
        _sample(monkeypatch, f"--output={tmp_path / 'image.png' / 'o.mp4'}", *arguments, load=load)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="may not be written into"):
        _sample(monkeypatch, f"--output={tmp_path / 'new' / 'o.mp4'}", *arguments, load=load)


def test_sample_writes_the_clips_of_a_split(monkeypatch, tmp_path, data):
    _sample(monkeypatch, f"--data={data}", f"--output={tmp_path / 'o'}", "--limit=2")
    suffixes = sorted(path.suffix for path in (tmp_path / "o").iterdir())
    assert suffixes == [".json", ".mp4", ".mp4", ".npz", ".npz"]


def test_sample_writes_a_clip_for_each_line_of_a_file(monkeypatch, tmp_path):
    Image.new("RGB", (8, 8), (90, 200, 10)).save(tmp_path / "image.png")
    (tmp_path / "clips.csv").write_text("image,prompt\nimage.png,a wall\nimage.png,a sea\n")
    given, asked = [], make_generator(batch_size=2)
    flags = [f"--prompts={tmp_path / 'clips.csv'}", f"--output={tmp_path / 'o'}", "--frames=9"]
    _sample(monkeypatch, *flags, load=lambda *args, **options: given.append((args, options)) or asked)
    written = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert written == ["0000.mp4", "0000.request.json", "0001.mp4", "0001.request.json", "prompts.json"]
    [((_, config, _), options)] = given
    assert config.long.frames == 9 and options["negative_prompt"] == ""


def _evaluate(monkeypatch, *arguments: str, load=lambda *_, **__: make_judges()) -> None:
    monkeypatch.setattr(judging, "load_judges", load)
    # Keys of the config are looked for in here.
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    for name in ("pairs", "step", "output"):
        evaluate.FLAGS[name].unparse()
    command_line.parse(evaluate.FLAGS, sys.argv, config=PEOPLE)
    evaluate.main(evaluate.FLAGS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config.batch_size=0",), "config.batch_size is 0: it must be a whole number, at least 1"),
        (("--config.metrics=('psnr','sharpness')",), "no metric is called 'sharpness': choose one of clip_text, "),
        (("--output={tmp}/x.npz",), r"x\.npz must be a file that ends in \.json"),
        (("--output={tmp}",), r"must be a file that ends in \.json"),
        (("--output={tmp}/folder.json",), r"folder\.json must be a file"),
        (("--output={tmp}/file/metrics.json",), "cannot write to .*file is not a folder"),
        (("--generated={tmp}/missing", "--output={tmp}/metrics.json"), "no folder .*missing: name one of video files"),
        (("--pairs=p.csv",), "says itself which real clips its own are of"),
        (("--generated={tmp}", "--step=2"), "--step chooses a judge of latents"),
    ],
)
def test_evaluate_tells_of_bad_flags_before_it_loads_the_judges(monkeypatch, tmp_path, runs, arguments, words):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()

    def load(*_, **__):
        raise AssertionError("the judges are loaded")

    given = [f"--generated={runs['control']}", "--reference=r", f"--output={tmp_path}/m.json"]
    with pytest.raises(UserError, match=words):
        _evaluate(monkeypatch, *given, *(argument.format(tmp=tmp_path) for argument in arguments), load=load)


def test_evaluate_writes_and_prints_the_scores(monkeypatch, tmp_path, data, runs, capsys):
    output = tmp_path / "scores" / "metrics.json"
    flags = [f"--generated={runs['control']}", f"--reference={data / 'clips' / 'test'}", f"--output={output}"]
    _evaluate(monkeypatch, *flags)
    assert (
        json.loads(output.read_text())["means"]
        == json.loads(Path(runs["control"], "metrics.json").read_text())["means"]
    )
    assert len(list((tmp_path / "scores" / "depth").iterdir())) == 5
    assert "PSNR (dB)" in capsys.readouterr().out
