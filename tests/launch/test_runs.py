"""launch/demo.sh, smoke.sh and notebook.sh: they run what there is, in an order in which each finds what it reads."""

import importlib
import sys

import pytest

from sr_jax import command_line, convert


def _commands(sandbox) -> list[list[str]]:
    """The commands of sr_jax that were run: name and arguments."""
    calls = [call[2:] for call in sandbox.calls("python") if call[1] == "-m" and call[2].startswith("sr_jax.")]
    return [[call[0].removeprefix("sr_jax."), *call[1:]] for call in calls]


def _parse(monkeypatch, name, arguments):
    """Holds arguments against the flags of a command, whose flags of config keys are made from what is typed."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    if name == "convert":
        _, flags, argv = convert.choose(sys.argv)
        command_line.parse(flags, argv)
    else:
        module = importlib.import_module(f"sr_jax.{name}{'.__main__' if name.startswith('demo.') else ''}")
        module = importlib.reload(module)
        command_line.parse(module.FLAGS, sys.argv, keys_of=getattr(module, "keys_of", None))


def test_every_stage_is_run_once_at_the_size_smoke(sandbox, monkeypatch):
    done = sandbox.run("smoke.sh", OUTPUT="out")
    assert done.returncode == 0, done.stderr
    assert "Everything ran" in done.stdout
    commands = _commands(sandbox)
    names = [name for name, *_ in commands]
    assert names == ["demo.people"] * 2 + ["demo.fit_teachers"] * 2 + ["prepare"] + ["train"] * 4 + [
        "sample", "evaluate", "convert",
    ]  # fmt: skip
    for name, *arguments in commands:
        _parse(monkeypatch, name, arguments)
        if "--config" in arguments:
            assert arguments[arguments.index("--config") + 1].endswith(":smoke"), name
    # A second time there is nothing to do.
    before = len(_commands(sandbox))
    assert sandbox.run("smoke.sh", OUTPUT="out").returncode == 0
    assert len(_commands(sandbox)) == before


_DEMO_COMMANDS = {
    "": ["demo.pretrained", "demo.people", "demo.people", "prepare", "train"],
    "--from-scratch": ["demo.people", "demo.people", "demo.fit_teachers", "prepare", "demo.fit_teachers"]
    + 3 * ["train"],
    "--real": ["demo.real_clips", "demo.fit_teachers", "prepare", "train", "train", "train"],
}
"""What comes before stage two; the face judge and the structure judge are made beside the base run."""


@pytest.mark.parametrize("option", _DEMO_COMMANDS)
def test_the_demo_compares_the_method_with_a_control(sandbox, monkeypatch, option):
    done = sandbox.run("demo.sh", *filter(None, [option]), OUTPUT="out")
    assert done.returncode == 0, done.stderr
    assert "Open out/report.html" in done.stdout
    commands = _commands(sandbox)
    for name, *arguments in commands:
        _parse(monkeypatch, name, arguments)
    names = sorted(name for name, *_ in commands)
    assert names == sorted(_DEMO_COMMANDS[option] + 2 * ["train", "sample", "evaluate"] + ["report"])
    stage_two = [" ".join(call) for call in commands if call[0] == "train" and "configs/stage_two" in call[2]]
    semantic_repa, control = sorted(stage_two, key=lambda call: "out/control" in call)
    # From one start, and the control without the two losses.
    start = (
        "--config.init.transformer=out/pretrained/transformer" if not option else "--config.init.transformer=out/base"
    )
    assert start in semantic_repa and start in control
    assert "--config.alignment.structure.weight=0.0 --config.alignment.identity.weight=0.0" in control
    assert "weight=" not in semantic_repa
    assert ("num_train_steps" in semantic_repa) == ("num_train_steps" in control)


@pytest.mark.parametrize(
    "command", [["smoke.sh"], *(["demo.sh", *filter(None, [option])] for option in _DEMO_COMMANDS)]
)
def test_what_a_step_reads_was_written_by_one_before(sandbox, command):
    assert sandbox.run(*command, OUTPUT="out").returncode == 0
    written = {"out/steps.jsonl"}
    for name, *arguments in _commands(sandbox):
        options = " ".join(arguments).replace("=", " ").split()
        places = [word for word in options if word.startswith("out/")]
        flags = [options[options.index(place) - 1] for place in places]
        for flag, place in zip(flags, places, strict=True):
            if flag not in ("--output", "--workdir"):
                assert any(place.startswith(folder) for folder in written), f"{name} reads {place}"
        written |= {place for flag, place in zip(flags, places, strict=True) if flag in ("--output", "--workdir")}


@pytest.mark.parametrize("named", [[], ["notebooks/mine.ipynb"]])
def test_a_notebook_is_run_on_a_copy(sandbox, named):
    folder = sandbox.folder / "notebooks"
    folder.mkdir()
    for name in ("semantic_repa_colab", "mine"):
        (folder / f"{name}.ipynb").write_text(name)
    done = sandbox.run("notebook.sh", *named, OUTPUT="out")
    assert done.returncode == 0, done.stderr
    name = "mine" if named else "semantic_repa_colab"
    execute, convert_it = (call[1:] for call in sandbox.calls("python")[-2:])
    assert execute == ["-m", "nbconvert", "--to", "notebook", "--inplace", "--execute", f"out/{name}.ipynb"]
    assert convert_it == [
        "-m",
        "nbconvert",
        "--to",
        "html",
        "--CoalesceStreamsPreprocessor.enabled=True",
        f"out/{name}.ipynb",
    ]
    assert (sandbox.folder / f"out/{name}.ipynb").read_text() == name
    assert sandbox.environment("python")["JAX_COMPILATION_CACHE_DIR"] == str(sandbox.folder / "out/compile_cache")
    assert f"out/{name}.html" in done.stdout


@pytest.mark.parametrize(
    ("script", "argument", "message"),
    [
        ("notebook.sh", "none.ipynb", "error: no notebook none.ipynb"),
        ("notebook.sh", "--fast", "error: unknown option --fast: name a notebook, or nothing"),
        ("smoke.sh", "--fast", "error: unknown option --fast: there are none but --help"),
    ],
)
def test_what_there_is_not_is_one_line(sandbox, script, argument, message):
    done = sandbox.run(script, argument)
    assert (done.returncode, done.stderr, sandbox.calls()) == (2, f"{message}\n", [])
