import hashlib
import importlib
import json
import signal
import subprocess
import sys
import time

import pytest

from sr_jax import command_line
from sr_jax.configs.pretrain import KEYS, get_config
from sr_jax.configs.training import keys_of
from sr_jax.declared.checking import check
from sr_jax.demo.people.identities import identity_split
from sr_jax.demo.people.motions import MOTIONS
from sr_jax.demo.pretrain import running
from sr_jax.demo.pretrain.plan import Step, pretraining
from sr_jax.demo.pretrained import files, shipping
from sr_jax.demo.pretrained.card_text import card_text
from sr_jax.errors import UserError


@pytest.mark.parametrize("size", ["small", "trial"])
def test_every_step_is_a_command_that_takes_its_arguments(size, tmp_path, monkeypatch):
    config = get_config(size)
    check(KEYS, config)
    steps = pretraining(config, tmp_path)
    assert len({step.name for step in steps}) == len(steps) == 14
    for step in steps:
        main = "" if step.module in ("train", "prepare", "sample", "evaluate") else ".__main__"
        # With flags that no step before has defined more of.
        module = importlib.reload(importlib.import_module(f"sr_jax.{step.module}{main}"))
        # Flags of configs look here for what they define.
        monkeypatch.setattr(sys, "argv", [step.module, *step.arguments])
        command_line.parse(module.FLAGS, sys.argv)
        if step.module == "train":
            check(keys_of(module.FLAGS.config), module.FLAGS.config)


def test_nobody_is_a_teacher_and_a_judge(tmp_path):
    steps = {step.name: step.arguments for step in pretraining(get_config(), tmp_path)}
    seeds = {
        name: next(argument for argument in arguments if argument.startswith("--config.seed="))
        for name, arguments in steps.items()
        if name in ("face teacher", "face judge", "f_S", "structure judge")
    }
    assert seeds["face teacher"] == seeds["f_S"] == "--config.seed=0"
    assert seeds["face judge"] == seeds["structure judge"] == "--config.seed=1"


def test_steps_are_run_once_and_their_times_are_kept(tmp_path):
    fine = Step("fine", "errors", ())
    failing = Step("failing", "report", ())
    with pytest.raises(UserError, match="failing ended with exit code 2"):
        running.run_steps([fine, failing], tmp_path)
    lines = running.read_steps(tmp_path)
    assert [(line["name"], line["done"]) for line in lines] == [("fine", True), ("failing", False)]
    assert lines[0]["command"] == "python -m sr_jax.errors" and lines[0]["cpu_seconds"] >= 0
    running.run_steps([fine], tmp_path)
    assert running.read_steps(tmp_path) == lines


def test_told_to_stop_the_command_that_runs_is_stopped_too(tmp_path):
    program = """
import sys
from pathlib import Path
from sr_jax.demo.pretrain import running
from sr_jax.demo.pretrain.plan import Step
running.run_steps([Step("long", "demo.people", ("--output", sys.argv[1], "--split", "test", "--clips", "100000"))],
                  Path(sys.argv[2]))
"""
    videos = tmp_path / "videos" / "test"
    process = subprocess.Popen([sys.executable, "-c", program, str(videos.parent), str(tmp_path / "made")])
    deadline = time.monotonic() + 120
    while not list(videos.glob("*.mp4")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    (line,) = running.read_steps(tmp_path / "made")
    assert not line["done"]
    there = len(list(videos.glob("*")))
    time.sleep(1)
    assert len(list(videos.glob("*"))) == there


def _write_index(folder, identities, motions):
    folder.mkdir(parents=True)
    entries = [
        {
            "clip_id": f"{number:06d}",
            "labels": {"identity": identity, "motion": motion, "held_out_motion": MOTIONS[motion].held_out},
        }
        for number, (identity, motion) in enumerate(zip(identities, motions, strict=True))
    ]
    (folder / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_the_card_says_who_and_what_was_seen(tmp_path):
    _write_index(tmp_path / "train", [3, 3, 9], ["wave", "run", "wave"])
    _write_index(tmp_path / "test", [1_000_000_001], ["kick"])
    assert shipping._about_clips(tmp_path / "train") == {
        "clips": 3, "people": 2, "identities": [3, 9], "motions": {"run": 1, "wave": 2}, "held_out_motions": [],
    }  # fmt: skip
    assert shipping._about_clips(tmp_path / "test")["held_out_motions"] == ["kick"]


def test_times_of_a_step_that_was_stopped_are_added_up(tmp_path):
    command = f"python -m sr_jax.train --workdir={tmp_path}/w"
    lines = [
        {"name": "a", "command": command, "began": 0, "seconds": 1800, "cpu_seconds": 3600, "done": done}
        for done in (False, True)
    ]
    (tmp_path / running.STEPS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert shipping._times(tmp_path) == [
        {"name": "a", "hours": 1.0, "cpu_hours": 2.0, "command": "python -m sr_jax.train --workdir=PRETRAINING/w"}
    ]


def test_the_weights_are_those_of_the_card():
    path = files.WEIGHTS / files.CARD
    card = json.loads(path.read_text()) if path.exists() else {"files": {}}
    found = {weights.relative_to(files.WEIGHTS).as_posix() for weights in files.WEIGHTS.rglob("*.safetensors")}
    assert found == set(card["files"]) and found in (set(), set(files.names()))
    contents = {name: (files.WEIGHTS / name).read_bytes() for name in found}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()} == {
        name: about["sha256"] for name, about in card["files"].items()
    }
    assert sum(map(len, contents.values())) <= 40e6
    if found:
        train, test = card["data"]["train"], card["data"]["test"]
        assert [identity_split(identity) for identity in train["identities"]] == ["train"] * 2
        assert [identity_split(identity) for identity in test["identities"]] == ["test"] * 2
        assert not any(MOTIONS[motion].held_out for motion in train["motions"]) and not train["held_out_motions"]
        assert set(test["held_out_motions"]) == {name for name, motion in MOTIONS.items() if motion.held_out}


def test_the_page_has_every_figure_of_the_card():
    split = {"clips": 2, "people": 1, "motions": {"wave": 2}, "held_out_motions": ["kick"]}
    text = card_text(
        {
            "data": {"train": split, "test": split},
            "quality": {
                "f_S": {"0.0": 0.91234},
                "f_ID, AUC": 0.98765,
                "transformer": {"means": {"codec": {"psnr": 35.5}}},
            },
            "steps": [{"name": name, "hours": 0.25, "cpu_hours": 0.5, "command": f"make {name}"} for name in "ab"],
            "remarks": "Both were made in steps.\n",
            "files": {"a.safetensors": {"bytes": 12_345, "sha256": "abc"}},
            "made_with": {"jax": "1.2"},
        }
    )
    for line in (
        "| train | 2 | 1 | wave 2 |",
        "| f_S | 0.0 | 0.9123 |",
        "| f_ID, AUC |  | 0.9877 |",
        "| transformer | means, codec, psnr | 35.5 |",
        "| all | 0.5 | 1.0 |",
        "    make b",
        "Both were made in steps.",
        "| a.safetensors | 12 | abc |",
        "jax 1.2.",
    ):
        assert line in text.splitlines()


def test_without_weights_it_is_said_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match=r"codec\.safetensors is missing. Make them with"):
        files.weights_file("codec.safetensors")
